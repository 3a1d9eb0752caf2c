"""The part of Orthanc's Python API that the plugin uses; there is no package with its types to install.

Written from https://orthanc.uclouvain.be/book/plugins/python.html and from the C functions that it wraps
(https://orthanc.uclouvain.be/sdk/, named OrthancPlugin... there). The module exists only inside Orthanc.
"""

from collections.abc import Callable

class OrthancException(Exception):
    """``args`` are the error code (OrthancPluginErrorCode) and its description."""

class ChangeType:
    """OrthancPluginChangeType; the members are integers."""

    ORTHANC_STARTED: int
    ORTHANC_STOPPED: int
    STABLE_STUDY: int

def RegisterOnChangeCallback(callback: Callable[[int, int, str], None], /) -> None:
    """Called with change type, level and Orthanc's identifier of the resource, in a thread for callbacks."""

def GetConfiguration() -> str:
    """The whole configuration as JSON."""

def GetGlobalProperty(property: int, default_value: str, /) -> str:
    """A value of the database; plugins use the numbers from 1024."""

def SetGlobalProperty(property: int, value: str, /) -> None:
    """Written with the database, durably."""

def RestApiGet(uri: str, /) -> bytes:
    """The built-in REST API. Raises ``OrthancException``, as the next two do."""

def RestApiPost(uri: str, body: str, /) -> bytes: ...
def RestApiPut(uri: str, body: str, /) -> bytes: ...
def LogInfo(message: str, /) -> None: ...
def LogWarning(message: str, /) -> None: ...
def LogError(message: str, /) -> None: ...
