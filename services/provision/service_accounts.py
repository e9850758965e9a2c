"""The Kubernetes ServiceAccounts of a release, as Google Cloud names them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.provision.bindings import METRICS_READER

CHART = "pixelpipe"
MAX_NAME = 63


def fullname(release: str) -> str:
    """What the chart's names begin with: the release, with the chart's name where that does not say it."""
    return (release if CHART in release else f"{release}-{CHART}")[:MAX_NAME].rstrip("-")


@dataclass(frozen=True)
class Accounts:
    """`metrics_reader` is a namespace and a ServiceAccount outside the release, for scaling."""

    project: str
    namespace: str
    fullname: str
    metrics_reader: tuple[str, str] | None = None

    def subject(self, account: str) -> tuple[str, str]:
        """The namespace and the ServiceAccount."""
        if account == METRICS_READER and self.metrics_reader is not None:
            return self.metrics_reader
        return self.namespace, f"{self.fullname}-{account}"

    def principal(self, account: str, number: str) -> str:
        """The IAM principal; `number` is the project's, or what a language writes for it."""
        namespace, name = self.subject(account)
        pool = f"projects/{number}/locations/global/workloadIdentityPools/{self.project}.svc.id.goog"
        return f"principal://iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{name}"


def service_agent(number: str) -> str:
    return f"serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"
