"""The code location of a cluster: the same definitions, but each step of a run is a Kubernetes job of its own.

Comes in: what the module ``definitions`` reads. Goes out: Dagster definitions. Never: changes an asset.
"""

from dagster_k8s import k8s_job_executor
from definitions import deployed

# What is not set here is what the run's own job has: image, secrets, environment, service account.
STEPS = {
    "max_concurrent": 4,
    "step_k8s_config": {
        "container_config": {
            "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
        },
        "pod_spec_config": {"termination_grace_period_seconds": 60},
        "job_spec_config": {"ttl_seconds_after_finished": 3600},
    },
}

defs = deployed(k8s_job_executor.configured(STEPS))
