from diffurecsys.pipelines.tuning.pipeline import create_pipeline, create_plan, namespace

__all__ = ["create_pipeline", "create_plan", "namespace"]
