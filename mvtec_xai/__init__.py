"""Inspect photographs of industrial parts: `from mvtec_xai import InspectionPipeline`."""

__version__ = "0.1.0"
__all__ = ["Inspection", "InspectionError", "InspectionPipeline"]


def __getattr__(name: str):
    "Import the pipeline when it is asked for: `import mvtec_xai` itself costs nothing."
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import pipeline

    return getattr(pipeline, name)
