"""What the bucket of the archive needs, as shell commands: who may write to it, and the rule that deletes. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from services.provision import archive
from services.provision.archive import Archive
from services.provision.service_accounts import service_agent


def commands(store: Archive, project: str, days: int) -> Iterator[str]:
    """Lines of a script; the provisioner runs none of it, since it has no right to the bucket."""
    yield f"# The bucket of the archive is yours: gs://{store.bucket} needs this, once."
    yield "# Pub/Sub's service agent writes the objects (`provision iam` prints these two among all others):"
    yield f"NUMBER=$(gcloud projects describe {shlex.quote(project)} --format='value(projectNumber)')"
    for role in archive.BUCKET_ROLES:
        member = service_agent("$NUMBER")
        yield f'gcloud storage buckets add-iam-policy-binding gs://{store.bucket} --role={role} --member="{member}"'
    yield f"# Deletes objects after {days} days (PIPE_ARCHIVE_DAYS). The file replaces all rules the bucket has."
    yield "cat > lifecycle.json <<'END'"
    yield json.dumps(store.lifecycle(days))
    yield "END"
    yield f"gcloud storage buckets update gs://{store.bucket} --lifecycle-file=lifecycle.json"
