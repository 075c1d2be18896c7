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

{{/* "true" on OpenShift, nothing elsewhere. */}}
{{- define "archfan.openshift" -}}
{{- $said := toString .Values.openshift.enabled }}
{{- if or (eq $said "true") (and (eq $said "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1")) -}}
true
{{- end }}
{{- end }}

{{- define "archfan.tektonNamespace" -}}
{{- default (ternary "openshift-pipelines" "tekton-pipelines" (eq (include "archfan.openshift" .) "true")) .Values.tekton.namespace }}
{{- end }}

{{/*
A security context. OpenShift gives every namespace users and groups of its own, and refuses a pod that asks for others; so whatever
the values say of them is left out there.
Call: include "archfan.securityContext" (list . .Values.securityContext)
*/}}
{{- define "archfan.securityContext" -}}
{{- $context := index . 1 }}
{{- if include "archfan.openshift" (index . 0) }}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" "supplementalGroups" "seLinuxOptions" }}
{{- end }}
{{- toYaml $context }}
{{- end }}

{{/*
Whether an object of a kind that not every cluster knows is rendered: "true" or nothing.
Call: include "archfan.rendered" (list . "monitoring.coreos.com/v1" "ServiceMonitor" .Values.metrics.serviceMonitor)
*/}}
{{- define "archfan.rendered" -}}
{{- $root := index . 0 }}
{{- $version := index . 1 }}
{{- $kind := index . 2 }}
{{- $values := index . 3 }}
{{- if $values.enabled }}
{{- $known := or ($root.Capabilities.APIVersions.Has (printf "%s/%s" $version $kind)) ($root.Capabilities.APIVersions.Has $version) }}
{{- if or $known (eq $values.renderMode "alwaysRender") -}}
true
{{- else if eq $values.renderMode "failIfMissing" }}
{{- fail (printf "the cluster does not know %s of %s: install its CustomResourceDefinition first, or set renderMode to skipIfMissing" $kind $version) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The controller's settings: `config`, and in it archfan's own image unless another is named, and the proxy. */}}
{{- define "archfan.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $index := $config.index }}
{{- if not $index.image }}
{{- $_ := set $index "image" (include "archfan.image" .) }}
{{- if not $index.imagePullPolicy }}
{{- $_ := set $index "imagePullPolicy" .Values.image.pullPolicy }}
{{- end }}
{{- end }}
{{- $env := list }}
{{- range $variable, $value := dict "HTTP_PROXY" .Values.proxy.httpProxy "HTTPS_PROXY" .Values.proxy.httpsProxy "NO_PROXY" .Values.proxy.noProxy }}
{{- if $value }}
{{- $env = append $env (dict "name" $variable "value" $value) }}
{{- end }}
{{- end }}
{{- if $env }}
{{- $template := $index.podTemplate }}
{{- $_ := set $template "env" (concat (default (list) $template.env) $env) }}
{{- end }}
{{- range $key, $value := $index }}
{{- if not $value }}
{{- $_ := unset $index $key }}
{{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* "true" if OpenShift's service CA issues the certificate for metrics. */}}
{{- define "archfan.metrics.serviceCA" -}}
{{- $said := toString .Values.metrics.tls.serviceCA }}
{{- if and .Values.metrics.enabled (not .Values.metrics.tls.secretName) (or (eq $said "true") (and (eq $said "auto") (include "archfan.openshift" .))) -}}
true
{{- end }}
{{- end }}

{{/* Secret with the certificate for metrics; nothing if they are served without TLS. */}}
{{- define "archfan.metrics.tlsSecret" -}}
{{- if .Values.metrics.tls.secretName }}
{{- .Values.metrics.tls.secretName }}
{{- else if include "archfan.metrics.serviceCA" . }}
{{- include "archfan.fullname" . }}-metrics-tls
{{- end }}
{{- end }}

{{- define "archfan.metrics.access" -}}
{{- if eq .Values.metrics.access "auto" }}
{{- ternary "token" "everybody" (eq (include "archfan.openshift" .) "true") }}
{{- else }}
{{- .Values.metrics.access }}
{{- end }}
{{- end }}

{{/*
How a monitor scrapes: scheme, TLS, authorization, rewriting.
Call: include "archfan.metrics.endpoint" (list . .Values.metrics.serviceMonitor)
*/}}
{{- define "archfan.metrics.endpoint" -}}
{{- $root := index . 0 }}
{{- $values := index . 1 }}
{{- $secret := include "archfan.metrics.tlsSecret" $root }}
port: metrics
path: /metrics
scheme: {{ ternary "https" "http" (ne $secret "") }}
{{- with $values.interval }}
interval: {{ . }}
{{- end }}
{{- with $values.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- if $secret }}
tlsConfig:
  {{- if $values.tlsConfig }}
  {{- toYaml $values.tlsConfig | nindent 2 }}
  {{- else }}
  serverName: {{ include "archfan.fullname" $root }}-metrics.{{ $root.Release.Namespace }}.svc
  ca:
    {{- if include "archfan.metrics.serviceCA" $root }}
    configMap:
      name: openshift-service-ca.crt
      key: service-ca.crt
    {{- else }}
    secret:
      name: {{ $secret }}
      key: ca.crt
    {{- end }}
  {{- end }}
{{- end }}
{{- if $values.authorization }}
authorization:
  {{- toYaml $values.authorization | nindent 2 }}
{{- else if and (eq (include "archfan.metrics.access" $root) "token") $root.Values.metrics.reader.create }}
authorization:
  type: Bearer
  credentials:
    name: {{ include "archfan.fullname" $root }}-metrics-reader
    key: token
{{- end }}
{{- with $values.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Annotations of what exists only while `helm test` runs. Call: include "archfan.test.hook" WEIGHT */}}
{{- define "archfan.test.hook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* The environment by which traces are exported: that of every program with OpenTelemetry. */}}
{{- define "archfan.tracing" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ .serviceName | quote }}
{{- with .resourceAttributes }}
{{- $pairs := list }}
{{- range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key ($value | urlquery | replace "+" "%20")) }}{{ end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," $pairs | quote }}
{{- end }}
{{- with .headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.tracing.headersSecret.key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The port of the collector of traces; empty if there is none. */}}
{{- define "archfan.tracing.port" -}}
{{- with .Values.tracing.endpoint }}
{{- $url := urlParse . }}
{{- with regexFind ":[0-9]+$" $url.host }}{{ trimPrefix ":" . }}{{ else }}{{ ternary 443 80 (eq $url.scheme "https") }}{{ end }}
{{- end }}
{{- end }}
