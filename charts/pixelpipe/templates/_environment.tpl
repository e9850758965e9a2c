{{/*
What the chart decides for each part: ports, the seconds from SIGTERM to SIGKILL, and the settings derived from values
that several parts share. All other settings are in the part's `settings`.
*/}}
{{- define "pixelpipe.parts" -}}
{{- $v := .Values -}}
collector:
  ports: {http: 8080, admin: 9101}
  # After SIGTERM the collector reports not ready and keeps serving for drainDelaySeconds, so there is no preStop hook.
  # Then requests in flight and the spool get shutdownTimeoutSeconds each. A disk or a Pub/Sub that hangs adds at most 25 s.
  gracePeriod: {{ add (ceil $v.collector.settings.drainDelaySeconds) (ceil (mulf 2 $v.collector.settings.shutdownTimeoutSeconds)) 25 }}
  env:
    PIPE_HITS_TOPIC: {{ quote $v.pubsub.hitsTopic }}
    PIPE_PORT: 8080
    PIPE_SCHEMA: /schema/schema.yaml
    {{- include "pixelpipe.privacy" . | nindent 4 }}
    {{- if $v.collector.spool.enabled }}
    PIPE_SPOOL: /spool
    {{- end }}
processor:
  ports: {admin: 9102}
  gracePeriod: {{ add (ceil $v.processor.settings.shutdownTimeoutSeconds) 15 }}
  env:
    PIPE_HITS_SUBSCRIPTION: {{ quote $v.pubsub.hitsSubscription }}
    PIPE_ROWS_TOPIC: {{ quote $v.pubsub.rowsTopic }}
    PIPE_DEAD_TOPIC: {{ quote $v.pubsub.deadTopic }}
    PIPE_SCHEMA: /schema/schema.yaml
    {{- include "pixelpipe.privacy" . | nindent 4 }}
loader:
  ports: {admin: 9103}
  gracePeriod: {{ add (ceil $v.loader.settings.shutdownTimeoutSeconds) 15 }}
  env:
    PIPE_DATASET: {{ quote $v.bigquery.dataset }}
    PIPE_ROWS_SUBSCRIPTION: {{ quote $v.pubsub.rowsSubscription }}
    PIPE_DEAD_TOPIC: {{ quote $v.pubsub.deadTopic }}
    PIPE_SCHEMA: /schema/schema.yaml
provision:
  env:
    PIPE_DATASET: {{ quote $v.bigquery.dataset }}
    PIPE_SCHEMA: /schema/schema.yaml
    PIPE_HITS_TOPIC: {{ quote $v.pubsub.hitsTopic }}
    PIPE_HITS_SUBSCRIPTION: {{ quote $v.pubsub.hitsSubscription }}
    PIPE_ROWS_TOPIC: {{ quote $v.pubsub.rowsTopic }}
    PIPE_ROWS_SUBSCRIPTION: {{ quote $v.pubsub.rowsSubscription }}
    PIPE_DEAD_TOPIC: {{ quote $v.pubsub.deadTopic }}
    PIPE_DEAD_SUBSCRIPTION: {{ quote $v.pubsub.deadSubscription }}
reconcile:
  ports: {admin: 9104}
ops:
  env:
    PIPE_DATASET: {{ quote $v.bigquery.dataset }}
    PIPE_SCHEMA: /schema/schema.yaml
{{- end -}}

{{/* The settings of the parts that apply the privacy policy: to requests, and to log entries. */}}
{{- define "pixelpipe.privacy" -}}
PIPE_PRIVACY: {{ quote .Values.privacy }}
PIPE_HASH_KEY_FILE: {{ ternary "/hash-keys/keys" "" (ne .Values.hashKeySecret "") | quote }}
{{- end -}}

{{/* The environment of a part's container: (list root "collector") */}}
{{- define "pixelpipe.env" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $part := index (include "pixelpipe.parts" $root | fromYaml) $name -}}
- name: PIPE_PROJECT
  value: {{ $root.Values.project | quote }}
{{- if $part.ports }}
- name: PIPE_HOST
  value: "0.0.0.0"
- name: PIPE_ADMIN_PORT
  value: {{ $part.ports.admin | quote }}
{{- end }}
{{- range $key, $value := $part.env }}
- name: {{ $key }}
  value: {{ $value | quote }}
{{- end }}
{{- range $key, $value := (index $root.Values $name).settings }}
- name: PIPE_{{ $key | snakecase | upper }}
  {{- /* As JSON: a plain number of seven digits or more would be printed as 1.048576e+06. */}}
  value: {{ if kindIs "slice" $value }}{{ join "," $value | quote }}{{ else if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ toJson $value | quote }}{{ end }}
{{- end }}
{{- if and $root.Values.tracing.endpoint $part.ports }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $root.Values.tracing.endpoint | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ include "pixelpipe.name" (list $root $name 63) }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ toJson $root.Values.tracing.ratio | quote }}
{{- end }}
{{- if $root.Values.emulators.enabled }}
{{ include "pixelpipe.emulators" $root }}
{{- end }}
{{- end -}}

{{/* Points Google's clients at the emulators. */}}
{{- define "pixelpipe.emulators" -}}
{{- $bigquery := include "pixelpipe.name" (list . "bigquery" 63) -}}
- name: PUBSUB_EMULATOR_HOST
  value: {{ include "pixelpipe.name" (list . "pubsub" 63) }}:8085
- name: BIGQUERY_EMULATOR_HOST
  value: http://{{ $bigquery }}:9050
- name: BIGQUERY_STORAGE_EMULATOR_HOST
  value: {{ $bigquery }}:9060
{{- end -}}
