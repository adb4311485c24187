{{/* Names, labels, and what the pods of the nodes and of the upgrade's check have in common. */}}

{{- define "accredit.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "accredit.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- define "accredit.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "accredit.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The configuration, TOML. */}}
{{- define "accredit.configuration" -}}
public_url = {{ .Values.publicUrl | quote }}
listen = "0.0.0.0:8420"
{{- if .Values.metrics.enabled }}
metrics_listen = "0.0.0.0:8421"
{{- end }}
data = "/var/lib/accredit"
store = {{ .Values.store.url | quote }}
{{- if .Values.store.existingSecret }}
store_password_file = "/run/accredit/store/password"
{{- end }}
{{- if or .Values.store.caSecret .Values.store.caConfigMap }}
store_ca_file = "/run/accredit/store-ca/ca.pem"
{{- end }}
root_key_file = "/run/accredit/root/root.key"
{{- range $key, $value := .Values.settings }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ $value | toJson }}
{{- end }}
{{- end }}

[tls]
certificate_file = "/run/accredit/tls/tls.crt"
key_file = "/run/accredit/tls/tls.key"
{{- range $table, $values := .Values.settings }}
{{- if kindIs "map" $values }}

[{{ $table }}]
{{- range $key, $value := $values }}
{{ $key }} = {{ $value | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A pod that nothing was added to: no token of the cluster, no capability, nothing to write but its folder. */}}
{{- define "accredit.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Secrets belong to root and are read by this group.
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "accredit.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "accredit.mounts" -}}
- name: configuration
  mountPath: /etc/accredit
  readOnly: true
- name: data
  mountPath: /var/lib/accredit
- name: root
  mountPath: /run/accredit/root
  readOnly: true
- name: tls
  mountPath: /run/accredit/tls
  readOnly: true
{{- if .Values.store.existingSecret }}
- name: store
  mountPath: /run/accredit/store
  readOnly: true
{{- end }}
{{- if or .Values.store.caSecret .Values.store.caConfigMap }}
- name: store-ca
  mountPath: /run/accredit/store-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "accredit.volumes" -}}
- name: data
  emptyDir: {}
- name: root
  secret:
    secretName: {{ .Values.rootKey.existingSecret }}
    defaultMode: 0440
    items:
      - key: root.key
        path: root.key
- name: tls
  secret:
    secretName: {{ .Values.tls.existingSecret }}
    defaultMode: 0440
{{- if .Values.store.existingSecret }}
- name: store
  secret:
    secretName: {{ .Values.store.existingSecret }}
    defaultMode: 0440
    items:
      - key: password
        path: password
{{- end }}
{{- if .Values.store.caSecret }}
- name: store-ca
  secret:
    secretName: {{ .Values.store.caSecret }}
    defaultMode: 0440
{{- else if .Values.store.caConfigMap }}
- name: store-ca
  configMap:
    name: {{ .Values.store.caConfigMap }}
{{- end }}
{{- end }}
