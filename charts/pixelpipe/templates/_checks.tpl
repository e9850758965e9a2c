{{/* Checks that values.schema.json cannot express. Each error is one line and ends with the fix. */}}
{{- define "pixelpipe.checks" -}}
{{- $root := . -}}
{{- $v := .Values -}}
{{- if not $v.project -}}
{{- fail "project is not set: --set project=YOUR_PROJECT" -}}
{{- end -}}
{{- if not (regexMatch "^[A-Za-z]" (include "pixelpipe.fullname" .)) -}}
{{- fail (printf "names would begin with %q, and a Service's must begin with a letter: set fullnameOverride" .Release.Name) -}}
{{- end -}}
{{- if and $v.autoscaling.hpa.enabled $v.autoscaling.keda.enabled -}}
{{- fail "autoscaling.hpa and autoscaling.keda would both scale the same pods: set autoscaling.hpa.enabled=false or autoscaling.keda.enabled=false" -}}
{{- end -}}
{{- if and $v.autoscaling.hpa.backlog (not $v.autoscaling.hpa.enabled) -}}
{{- fail "autoscaling.hpa.backlog needs the autoscaler: set autoscaling.hpa.enabled=true, or autoscaling.hpa.backlog=false" -}}
{{- end -}}
{{- if and $v.gateway.enabled $v.ingress.enabled -}}
{{- fail "gateway and ingress would both make a load balancer for the collector: set gateway.enabled=false or ingress.enabled=false" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress needs host names for its certificate: set ingress.hosts={pixel.example.com}" -}}
{{- end -}}
{{- if and $v.gateway.existing.name (or $v.gateway.address $v.gateway.certificates) -}}
{{- fail "gateway.address and gateway.certificates are for a Gateway that is made here, gateway.existing names another: unset them or that" -}}
{{- end -}}
{{- $regional := regexMatch "-(regional|rilb)" $v.gateway.className -}}
{{- if and $v.gateway.certificateMap $regional -}}
{{- fail (printf "gateway.certificateMap is for a global class, gateway.className=%s takes certificates of its region: set gateway.certificates={NAME} and gateway.certificateMap=\"\"" $v.gateway.className) -}}
{{- end -}}
{{- if and $v.gateway.certificates (not $regional) -}}
{{- fail (printf "gateway.certificates is for a regional class, gateway.className=%s takes a map: set gateway.className=gke-l7-regional-external-managed, or gateway.certificateMap and no gateway.certificates" $v.gateway.className) -}}
{{- end -}}
{{- if and $v.gateway.enabled $regional (not $v.gateway.existing.name) $v.networkPolicy.enabled (not (contains "ipBlock" (toJson $v.networkPolicy.from))) -}}
{{- fail "networkPolicy would keep out a regional load balancer, whose requests come from the proxy-only subnet: set networkPolicy.from[0].ipBlock.cidr to its range" -}}
{{- end -}}
{{- with $v.reconcile.mail -}}
{{- if and .to (not (and .from .server)) -}}
{{- fail "reconcile.mail.to needs a sender and a server: set reconcile.mail.from and reconcile.mail.server" -}}
{{- end -}}
{{- if and .to (ne (contains "@" .server) (ne .passwordSecret "")) -}}
{{- fail "a login to reconcile.mail.server takes a user and a password: set both smtps://USER@HOST and reconcile.mail.passwordSecret" -}}
{{- end -}}
{{- end -}}
{{- $persistent := and $v.collector.spool.enabled (eq $v.collector.spool.storage "persistent") -}}
{{- if and $persistent (eq $v.collector.kind "Deployment") -}}
{{- fail "collector.spool.storage=persistent gives each pod a disk of its own, which a Deployment cannot: set collector.kind=StatefulSet, or collector.spool.storage=emptyDir" -}}
{{- end -}}
{{- if and (eq $v.collector.kind "StatefulSet") (not $persistent) -}}
{{- fail "collector.kind=StatefulSet is for a spool on disks: set collector.spool.enabled=true and collector.spool.storage=persistent, or collector.kind=Deployment" -}}
{{- end -}}
{{- $needed := div (add (mul (int64 $v.collector.settings.spoolMaxBytes) 5) 4194303) 4194304 -}}
{{- if and $v.collector.spool.enabled (lt (int64 (include "pixelpipe.spoolMi" .)) (int64 $needed)) -}}
{{- fail (printf "collector.spool.size=%s is too small for collector.settings.spoolMaxBytes, which needs a quarter more: set collector.spool.size=%dMi" $v.collector.spool.size (int64 $needed)) -}}
{{- end -}}
{{- range $name := list "collector" "processor" "loader" -}}
{{- $scaling := (index $v $name).autoscaling -}}
{{- if gt (int $scaling.min) (int $scaling.max) -}}
{{- fail (printf "%s.autoscaling.min is over its max: set %s.autoscaling.max=%d" $name $name (int $scaling.min)) -}}
{{- end -}}
{{- if and $v.autoscaling.hpa.enabled (lt (int $scaling.min) 1) -}}
{{- if not $v.autoscaling.hpa.backlog -}}
{{- fail (printf "a HorizontalPodAutoscaler scales to 0 only by what waits: set autoscaling.hpa.backlog=true, or %s.autoscaling.min=1" $name) -}}
{{- end -}}
{{- if ne (include "pixelpipe.scalesToZero" $root.Capabilities.KubeVersion.Version) "true" -}}
{{- fail (printf "a HorizontalPodAutoscaler scales to 0 from Kubernetes 1.37 on, this is %s: set %s.autoscaling.min=1, or let KEDA scale" $root.Capabilities.KubeVersion.Version $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* collector.spool.size in Mi */}}
{{- define "pixelpipe.spoolMi" -}}
{{- $size := .Values.collector.spool.size -}}
{{- mul (int64 (regexFind "^[0-9]+" $size)) (ternary 1024 1 (hasSuffix "Gi" $size)) -}}
{{- end -}}

{{/* Whether a HorizontalPodAutoscaler of this version of Kubernetes may have minReplicas 0 with an external metric */}}
{{- define "pixelpipe.scalesToZero" -}}
{{- semverCompare ">=1.37.0-0" . -}}
{{- end -}}
