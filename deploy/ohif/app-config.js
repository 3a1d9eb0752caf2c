// OHIF's configuration: one DICOMweb server, on the origin that the viewer itself comes from (nginx.conf).
// What each setting means: https://docs.ohif.org/configuration/configurationfiles
window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  customizationService: [
    {
      // The summary picture is one frame: a film player over it only hides it.
      autoCineModalities: { $set: ['US'] },
      // No guided tour over the first image that a reader opens.
      'ohif.tours': { $set: [] },
    },
  ],
  showStudyList: true,
  maxNumberOfWebWorkers: 3,
  showLoadingIndicator: true,
  // A segmentation that is opened is shown without being asked for a second time.
  disableConfirmationPrompts: true,
  strictZSpacingForVolumeViewport: true,
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  defaultDataSourceName: 'pacs',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'pacs',
      configuration: {
        friendlyName: 'PACS',
        name: 'pacs',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        wadoUriRoot: '/dicom-web',
        qidoSupportsIncludeField: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        supportsReject: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        singlepart: 'bulkdata,video',
        bulkDataURI: { enabled: true },
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
};
