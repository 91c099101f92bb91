"""The settings of the workers: dagster_celery.app imports a module of this name, if there is one.

Comes in: celery.yaml next to this file, and the two variables of the environment that it names. Goes out: Celery's
settings, under Celery's names.
Never: has a setting that celery.yaml does not have. (`dagster-celery worker start` makes such a module from a YAML file
as well, but writes the URLs with their passwords into it, in a folder that it never empties.)
"""

import os
from pathlib import Path

import yaml

_config = yaml.safe_load(Path(__file__).with_name("celery.yaml").read_text())["execution"]["config"]

broker_url = os.environ[_config["broker"]["env"]]
result_backend = os.environ[_config["backend"]["env"]]
globals().update(_config["config_source"])
