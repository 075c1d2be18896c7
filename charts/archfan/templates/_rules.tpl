{{/*
What the controller does in the namespaces of its runs. docs/rbac.md tells for each line which code needs it, and a test compares
this list with what the API server has seen archfan do.
*/}}
{{- define "archfan.rules.runs" -}}
- apiGroups: [tekton.dev]
  resources: [customruns]
  verbs: [get, list, watch]
- apiGroups: [tekton.dev]
  resources: [customruns/status]
  verbs: [patch]
# Children name the CustomRun as an owner that waits for them (blockOwnerDeletion). OpenShift, and every cluster with the admission
# plugin OwnerReferencesPermissionEnforcement, allows that only to those who may change the owner's finalizers.
- apiGroups: [tekton.dev]
  resources: [customruns/finalizers]
  verbs: [update]
- apiGroups: [tekton.dev]
  resources: [taskruns]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [tekton.dev]
  resources: [pipelineruns]
  verbs: [get]
- apiGroups: [archfan.dev]
  resources: [multiarchbuilds]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create]
{{- end }}

{{/* What has no namespace. archfan does without it, and then explains less. */}}
{{- define "archfan.rules.cluster" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [persistentvolumes]
  verbs: [get]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get]
{{- end }}
