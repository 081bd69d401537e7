from diffurecsys.pipelines.cells.pipeline import create_pipeline

__all__ = ["create_pipeline"]
