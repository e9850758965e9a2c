{{/* The text of rules or dashboards with this release's subscriptions in place of the default ones: (list root text) */}}
{{- define "pixelpipe.observed" -}}
{{- $root := index . 0 -}}
{{- $v := $root.Values -}}
{{- $text := index . 1 -}}
{{- $text = $text | replace "pixelpipe-hits-processor" $v.pubsub.hitsSubscription -}}
{{- $text = $text | replace "pixelpipe-rows-loader" $v.pubsub.rowsSubscription -}}
{{- $text = $text | replace "pixelpipe-dead-letters" $v.pubsub.deadSubscription -}}
{{- $text -}}
{{- end -}}

{{/* The groups of one file of rules, scoped to this release: (list root path) */}}
{{- define "pixelpipe.groups" -}}
{{- $root := index . 0 -}}
{{- $v := $root.Values -}}
{{- $text := include "pixelpipe.observed" (list $root ($root.Files.Get (index . 1))) -}}
{{- $text = $text | replace `namespace="default"` (printf `namespace="%s"` $root.Release.Namespace) -}}
{{- $text = $text | replace `release="pixelpipe"` (printf `release="%s"` $root.Release.Name) -}}
{{- $text = $text | replace `project_id="my-project"` (printf `project_id="%s"` $v.project) -}}
{{- $fresh := toString $v.observability.slo.freshnessSeconds -}}
{{- $text = $text | replace `le=~"10(` (printf `le=~"%s(` $fresh) | replace "longer than 10 s" (printf "longer than %s s" $fresh) -}}
{{- range list "processor" "loader" -}}
{{- $text = $text | replace (printf `(keda-hpa-)?pixelpipe-%s"` .) (printf `(keda-hpa-)?%s"` (include "pixelpipe.name" (list $root . 63))) -}}
{{- end -}}
{{- $text = $text | replace "pixelpipe-reconcile-" (printf "%s-" (include "pixelpipe.name" (list $root "reconcile" 52))) -}}
{{- $groups := (fromYaml $text).groups -}}
{{- range $groups -}}
{{- $_ := set . "name" (.name | replace "pixelpipe-" (printf "%s-" (include "pixelpipe.fullname" $root))) -}}
{{- range .rules -}}
{{- $labels := .labels | default dict -}}
{{- if hasKey $labels "release" -}}
{{- $_ := set $labels "namespace" $root.Release.Namespace -}}
{{- $_ := set $labels "release" $root.Release.Name -}}
{{- end -}}
{{- if hasKey . "annotations" -}}
{{- $_ := set .annotations "runbook_url" (.annotations.runbook_url | replace "runbooks/" $v.observability.runbooks) -}}
{{- end -}}
{{- if eq (.record | default "") "pixelpipe:slo_objective:ratio" -}}
{{- $_ := set . "expr" (printf "vector(%v)" (index $v.observability.slo $labels.slo)) -}}
{{- else if eq (.record | default "") "pixelpipe:slo_objective:in_flight_seconds" -}}
{{- $_ := set . "expr" (printf "vector(%v)" $v.observability.slo.inFlightSeconds) -}}
{{- else if eq (.record | default "") "pixelpipe:quota:bytes_per_second" -}}
{{- $_ := set . "expr" (printf "vector(%v)" (index $v.observability.quota $labels.quota)) -}}
{{- else if eq (.record | default "") "pixelpipe:price:dollars_per_tib" -}}
{{- $_ := set . "expr" (printf "vector(%v)" (index $v.observability.prices $labels.price)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}
