{{/* Name of the application, in labels. */}}
{{- define "archfan.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of the objects. */}}
{{- define "archfan.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of objects that have no namespace. Where archfan is installed once for several teams, each has its own. */}}
{{- define "archfan.clusterName" -}}
{{- if .Values.watchNamespaces }}
{{- printf "%s-%s" .Release.Namespace (include "archfan.fullname" .) }}
{{- else }}
{{- include "archfan.fullname" . }}
{{- end }}
{{- end }}

{{- define "archfan.selectorLabels" -}}
app.kubernetes.io/name: {{ include "archfan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "archfan.labels" -}}
{{ include "archfan.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: archfan
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Metadata that every object has: labels, and annotations if there are any. */}}
{{- define "archfan.metadata" -}}
labels:
  {{- include "archfan.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "archfan.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "archfan.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The image: by tag, by digest, or by both. */}}
{{- define "archfan.image" -}}
{{- $image := .Values.image }}
{{- $image.repository }}
{{- if or $image.tag (not $image.digest) }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The controller's settings: `config`, and in it archfan's own image unless another is named. */}}
{{- define "archfan.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $index := $config.index }}
{{- if not $index.image }}
{{- $_ := set $index "image" (include "archfan.image" .) }}
{{- if not $index.imagePullPolicy }}
{{- $_ := set $index "imagePullPolicy" .Values.image.pullPolicy }}
{{- end }}
{{- end }}
{{- range $key, $value := $index }}
{{- if not $value }}
{{- $_ := unset $index $key }}
{{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}
