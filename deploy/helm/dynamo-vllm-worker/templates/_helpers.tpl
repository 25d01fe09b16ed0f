{{/* Labels that select pods. Of a context: root, role ("" unless disaggregated). */}}
{{- define "worker.selector" -}}
app.kubernetes.io/name: {{ .root.Values.name }}
app.kubernetes.io/part-of: dynamo
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of an object of the release. Of the root. */}}
{{- define "worker.release" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Name of a role's objects. */}}
{{- define "worker.name" -}}
{{ .root.Values.name }}{{ with .role }}-{{ . }}{{ end }}
{{- end }}

{{/* The roles with their own values, as JSON. Of the root. */}}
{{- define "worker.roles" -}}
{{- if .Values.disaggregated.enabled -}}
{{- dict "prefill" .Values.disaggregated.prefill "decode" .Values.disaggregated.decode | toJson -}}
{{- else -}}
{{- dict "" (dict "replicas" .Values.replicas "resources" (dict) "args" (list)) | toJson -}}
{{- end -}}
{{- end }}

{{/* Arguments of a worker, in the order of its command line. */}}
{{- define "worker.args" -}}
{{- $v := .root.Values -}}
- --model
- {{ $v.model.path | quote }}
- --served-model-name
- {{ $v.model.servedName | quote }}
{{- if $v.kvRouting.enabled }}
- --kv-events-config
# With "*" vLLM's publisher binds; with an address it would connect, and nobody would hear it.
- {{ printf `{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:%d","topic":"kv-events"}` (int $v.kvRouting.port) | quote }}
{{- end }}
{{- if $v.lora.enabled }}
- --enable-lora
- --max-lora-rank
- {{ $v.lora.maxRank | quote }}
{{- end }}
{{- with .role }}
- --disaggregation-mode
- {{ . }}
- --kv-transfer-config
- {{ $v.disaggregated.kvTransferConfig | quote }}
{{- end }}
{{- range concat $v.args .own.args }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* Who a pod is, for discovery in Kubernetes mode. */}}
{{- define "worker.identity" -}}
- name: DYN_NAMESPACE
  value: {{ .Values.dynamoNamespace | quote }}
- name: DYN_DISCOVERY_BACKEND
  value: kubernetes
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_UID
  valueFrom: { fieldRef: { fieldPath: metadata.uid } }
- name: POD_NAMESPACE
  valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
{{- end }}
