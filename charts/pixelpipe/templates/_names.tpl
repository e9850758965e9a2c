{{/* The prefix of all names. A dot, which a Service's name cannot have, becomes a dash, and a hash is appended. */}}
{{- define "pixelpipe.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- if contains "." $full -}}
{{- $full = printf "%s-%s" (replace "." "-" $full) (sha256sum $full | trunc 6) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* FULLNAME-suffix: (list root "collector" 63). Longer names are cut before the suffix and made unique by a hash. */}}
{{- define "pixelpipe.name" -}}
{{- $full := include "pixelpipe.fullname" (index . 0) -}}
{{- $suffix := index . 1 -}}
{{- $longest := index . 2 -}}
{{- $name := printf "%s-%s" $full $suffix -}}
{{- if gt (len $name) $longest -}}
{{- $room := int (sub (sub $longest (len $suffix)) 8) -}}
{{- $name = printf "%s-%s-%s" ($full | trunc $room | trimSuffix "-") (sha256sum $full | trunc 6) $suffix -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The ServiceAccount of a part: (list root "collector") */}}
{{- define "pixelpipe.account" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- (index $root.Values $part).serviceAccount.name | default (include "pixelpipe.name" (list $root $part 63)) -}}
{{- end -}}

{{/* The labels that a Service, a budget or a policy selects by: (list root "collector") */}}
{{- define "pixelpipe.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ toYaml ($root.Values.nameOverride | default $root.Chart.Name) }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "pixelpipe.labels" -}}
{{- $root := index . 0 -}}
{{ include "pixelpipe.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: pixelpipe
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (list root image), where image has repository, tag and digest */}}
{{- define "pixelpipe.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := $root.Values.image.registry | replace "{project}" $root.Values.project -}}
{{- $name := $image.repository -}}
{{- if and $registry (not (contains "/" $name)) -}}
{{- $name = printf "%s/%s" $registry $name -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "pixelpipe.schema" -}}
{{- .Values.schema | default (.Files.Get "files/schema.yaml") | trimSuffix "\n" -}}
{{- end -}}

{{/* "true" if the schema file has columns from geo.*: Google bills custom headers by the request. */}}
{{- define "pixelpipe.asksPlaces" -}}
{{- if regexMatch "(?m)^[^#\\n]*\\bgeo\\.[a-z]" (include "pixelpipe.schema" .) }}true{{ end }}
{{- end -}}
