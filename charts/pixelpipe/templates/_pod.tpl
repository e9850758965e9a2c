{{- define "pixelpipe.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "pixelpipe.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The part of the spec that all pods share: (list root "collector") */}}
{{- define "pixelpipe.podCommon" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "pixelpipe.account" . | toYaml }}
# Workload Identity uses the metadata server; nothing here talks to Kubernetes.
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "pixelpipe.podSecurity" $root | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ toYaml . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The pod of a task that runs the ops image once: (list root part name command schemaConfigMap) */}}
{{- define "pixelpipe.task" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- include "pixelpipe.podCommon" (list $root $part) }}
containers:
  - name: {{ index . 2 }}
    image: {{ include "pixelpipe.image" (list $root $root.Values.ops.image) }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: [{{ join ", " (index . 3) }}]
    # `kubectl describe` then shows what it printed last.
    terminationMessagePolicy: FallbackToLogsOnError
    env:
      {{- include "pixelpipe.env" (list $root $part) | nindent 6 }}
      {{- if eq (index . 2) "reconcile" }}
      {{- with $root.Values.reconcile.webhookSecret }}
      - name: PIPE_WEBHOOK
        valueFrom:
          secretKeyRef: {name: {{ quote . }}, key: url}
      {{- end }}
      {{- with $root.Values.reconcile.mail.passwordSecret }}
      - name: PIPE_MAIL_PASSWORD
        valueFrom:
          secretKeyRef: {name: {{ quote . }}, key: password}
      {{- end }}
    ports:
      - {name: admin, containerPort: {{ (include "pixelpipe.parts" $root | fromYaml).reconcile.ports.admin }}, protocol: TCP}
      {{- end }}
    resources:
      {{- toYaml (index $root.Values $part).resources | nindent 6 }}
    securityContext:
      {{- include "pixelpipe.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: schema, mountPath: /schema, readOnly: true}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  - name: schema
    configMap:
      name: {{ index . 4 }}
{{- end -}}
