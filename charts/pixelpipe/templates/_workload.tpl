{{/* The spec of a service's Deployment or StatefulSet, pods and all: (list root "collector") */}}
{{- define "pixelpipe.workload" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $v := $root.Values -}}
{{- $values := index $v $name -}}
{{- $part := index (include "pixelpipe.parts" $root | fromYaml) $name -}}
{{- $spool := and (eq $name "collector") $values.spool.enabled -}}
{{- $onDisk := and $spool (eq $values.spool.storage "persistent") -}}
{{- $hashed := and (hasKey $part.env "PIPE_HASH_KEY_FILE") (ne $v.hashKeySecret "") -}}
{{- $module := printf "services.%s" $name -}}
revisionHistoryLimit: 5
{{- with include "pixelpipe.liveReplicas" . | fromYaml | merge (dict "values" $v "wanted" $values.replicas "min" $values.autoscaling.min) | include "pixelpipe.replicas" }}
replicas: {{ . }}
{{- end }}
{{- if $onDisk }}
serviceName: {{ include "pixelpipe.name" (list $root "spool" 63) }}
podManagementPolicy: Parallel
updateStrategy: {type: RollingUpdate}
# A pod that is scaled away may leave hits on its disk. The disk stays, and the next pod with its number publishes them.
persistentVolumeClaimRetentionPolicy: {whenScaled: Retain, whenDeleted: Retain}
{{- else }}
strategy:
  type: RollingUpdate
  rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
{{- end }}
selector:
  matchLabels:
    {{- include "pixelpipe.selector" . | nindent 4 }}
template:
  metadata:
    labels:
      {{- include "pixelpipe.selector" . | nindent 6 }}
    annotations:
      checksum/schema: {{ include "pixelpipe.schema" $root | sha256sum }}
      # For scrapers that use annotations; Managed Prometheus uses podMonitoring.
      prometheus.io/scrape: "true"
      prometheus.io/port: {{ $part.ports.admin | quote }}
      {{- with $values.podAnnotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  spec:
    {{- include "pixelpipe.podCommon" . | nindent 4 }}
    terminationGracePeriodSeconds: {{ $part.gracePeriod }}
    topologySpreadConstraints:
      {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
      - maxSkew: 1
        topologyKey: {{ . }}
        whenUnsatisfiable: ScheduleAnyway
        labelSelector:
          matchLabels:
            {{- include "pixelpipe.selector" (list $root $name) | nindent 12 }}
      {{- end }}
    {{- with $values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if $v.dev.sync }}
    initContainers:
      - name: code
        image: {{ include "pixelpipe.image" (list $root $values.image) }}
        imagePullPolicy: {{ $v.image.pullPolicy }}
        command: [cp, -r, /app/services, /code/]
        resources:
          {{- toYaml $values.resources | nindent 10 }}
        securityContext:
          {{- include "pixelpipe.containerSecurity" $root | nindent 10 }}
        volumeMounts:
          - {name: code, mountPath: /code}
    {{- end }}
    containers:
      - name: {{ $name }}
        image: {{ include "pixelpipe.image" (list $root $values.image) }}
        imagePullPolicy: {{ $v.image.pullPolicy }}
        {{- if $v.dev.sync }}
        # Restarts the process when it ends: after a sync the hook sends SIGTERM to the pid in /tmp/pid. If the container
        # itself ended, the kubelet would restart it with growing delays.
        command:
          - sh
          - -c
          - >-
            trap 'kill $child; wait $child; exit' TERM;
            while true; do python -m {{ $module }} & child=$!; echo $child >/tmp/pid; wait $child; sleep 0.2; done
        {{- else }}
        command: [python, -m, {{ $module }}]
        {{- end }}
        env:
          {{- include "pixelpipe.env" . | nindent 10 }}
        ports:
          {{- range $port, $number := $part.ports }}
          - {name: {{ $port }}, containerPort: {{ $number }}, protocol: TCP}
          {{- end }}
        # No probe depends on Pub/Sub or BigQuery: an outage there must not take pods away.
        startupProbe:
          httpGet: {path: /livez, port: admin}
          periodSeconds: 2
          failureThreshold: 30
        livenessProbe:
          httpGet: {path: /livez, port: admin}
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 6
        readinessProbe:
          httpGet: {path: /readyz, port: admin}
          periodSeconds: 2
          timeoutSeconds: 2
          failureThreshold: 2
        resources:
          {{- include "pixelpipe.resources" (list $root $name) | nindent 10 }}
        securityContext:
          {{- include "pixelpipe.containerSecurity" $root | nindent 10 }}
        volumeMounts:
          - {name: tmp, mountPath: /tmp}
          - {name: schema, mountPath: /schema, readOnly: true}
          {{- if $hashed }}
          - {name: hash-keys, mountPath: /hash-keys, readOnly: true}
          {{- end }}
          {{- if $spool }}
          - {name: spool, mountPath: /spool}
          {{- end }}
          {{- if $v.dev.sync }}
          - {name: code, mountPath: /app}
          {{- end }}
          {{- with $values.extraVolumeMounts }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
    volumes:
      - name: tmp
        emptyDir: {sizeLimit: 64Mi}
      - name: schema
        configMap:
          name: {{ include "pixelpipe.name" (list $root "schema" 63) }}
      {{- if $hashed }}
      - name: hash-keys
        secret: {secretName: {{ $v.hashKeySecret }}, defaultMode: 0440}
      {{- end }}
      {{- if and $spool (not $onDisk) }}
      # Survives the container, not the pod: see collector.spool.storage.
      - name: spool
        emptyDir: {sizeLimit: {{ $values.spool.size }}}
      {{- end }}
      {{- if $v.dev.sync }}
      - name: code
        emptyDir: {sizeLimit: 64Mi}
      {{- end }}
      {{- with $values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- if $onDisk }}
volumeClaimTemplates:
  - metadata:
      name: spool
      labels:
        {{- include "pixelpipe.selector" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $values.spool.storageClass }}
      storageClassName: {{ toYaml . }}
      {{- end }}
      resources: {requests: {storage: {{ $values.spool.size }}}}
{{- end }}
{{- end -}}

{{/* An emptyDir spool uses the node's disk: it is requested, so that the pod is not the first to be evicted. */}}
{{- define "pixelpipe.resources" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $values := index $root.Values $name -}}
{{- $resources := deepCopy $values.resources -}}
{{- if eq $name "collector" -}}
{{- if and $values.spool.enabled (eq $values.spool.storage "emptyDir") -}}
{{- $disk := printf "%dMi" (add (int64 (include "pixelpipe.spoolMi" $root)) 256) -}}
{{- range list "requests" "limits" -}}
{{- if not (hasKey (index $resources .) "ephemeral-storage") -}}
{{- $_ := set (index $resources .) "ephemeral-storage" $disk -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/*
How many replicas a workload asks for, "" for none: a dict of `values`, the `wanted` number, the autoscaler's `min`, and
what runs now as `liveReplicas` says it. Helm patches what it rendered before: a number that it stops rendering becomes 1 for as long as
the autoscaler needs to look, and one that it begins to render undoes what the autoscaler did. So with an autoscaler, and
in the upgrade that takes it away, what runs now is kept. But where KEDA had no pods, a HorizontalPodAutoscaler would take
0 for a pause that someone wants.
*/}}
{{- define "pixelpipe.replicas" -}}
{{- $scaled := or .values.autoscaling.hpa.enabled .values.autoscaling.keda.enabled -}}
{{- if $scaled -}}
{{- if hasKey . "running" }}{{ max (int .running) (ternary (int .min) 0 (and (hasKey . "keda") .values.autoscaling.hpa.enabled)) }}{{ end -}}
{{- else if .autoscaler -}}
{{- max (int .wanted) (int .running) -}}
{{- else -}}
{{- int .wanted -}}
{{- end -}}
{{- end -}}

{{/* As YAML, the replicas that run and which autoscaler is there; nothing where no cluster is asked: (list root "collector") */}}
{{- define "pixelpipe.liveReplicas" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $namespace := $root.Release.Namespace -}}
{{- $kind := (index $root.Values $name).kind | default "Deployment" -}}
{{- $workload := lookup "apps/v1" $kind $namespace (include "pixelpipe.workloadName" .) -}}
{{- with $workload }}
running: {{ int .spec.replicas }}
{{- end }}
{{- $keda := lookup "autoscaling/v2" "HorizontalPodAutoscaler" $namespace (printf "keda-hpa-%s" (include "pixelpipe.name" (list $root $name 54))) -}}
{{- if $keda }}
keda: true
{{- end }}
{{- if or $keda (lookup "autoscaling/v2" "HorizontalPodAutoscaler" $namespace (include "pixelpipe.name" (list $root $name 63))) }}
autoscaler: true
{{- end }}
{{- end -}}

{{/* A StatefulSet's name and a hash become a label of its pods, which has 63 characters: (list root "collector") */}}
{{- define "pixelpipe.workloadName" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $kind := (index $root.Values $name).kind | default "Deployment" -}}
{{- include "pixelpipe.name" (list $root $name (ternary 52 63 (eq $kind "StatefulSet"))) -}}
{{- end -}}
