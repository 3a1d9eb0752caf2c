"""How well a served model does on labelled cases: through the engine that serves it, without torch.

``overlap`` counts pixels, ``precision_recall`` looks at every threshold, ``bootstrap`` gives intervals over patients,
``evaluate`` puts a folder of cases through a model, ``stated`` holds the result against what a model's card states.
"""

from inference.training.evaluation.evaluate import evaluate
from inference.training.evaluation.marking import mark
from inference.training.evaluation.overlap import Overlap
from inference.training.evaluation.threshold import choose_threshold

__all__ = ["Overlap", "choose_threshold", "evaluate", "mark"]
