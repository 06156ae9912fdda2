{{/* What admission policies ask of a change, as CEL. */}}

{{/* Nothing of the metadata is changed but what is named. Takes (list ANNOTATIONS LABELS OWNERS): CEL about the key `k`
and the owner `o` of what may. */}}
{{- define "spotscale.metadataStays" -}}
{{- range list (list "annotations" (index . 0)) (list "labels" (index . 1)) }}
{{- $now := printf "variables.%s" (index . 0) }}
{{- $before := printf "%sBefore" $now }}
- expression: >-
    {{ $now }}.all(k, {{ index . 1 }} ||
    (k in {{ $before }} && {{ $before }}[k] == {{ $now }}[k])) &&
    {{ $before }}.all(k, {{ index . 1 }} || k in {{ $now }})
  message: these {{ index . 0 }} are not Spotscale's to change
{{- end }}
- expression: variables.finalizers == variables.finalizersBefore
  message: finalizers are not Spotscale's to change
- expression: >-
    variables.ownerReferences.filter(o, !({{ index . 2 }})) == variables.ownerReferencesBefore.filter(o, !({{ index . 2 }}))
  message: these owners are not Spotscale's to change
{{- end -}}

{{/* What the autoscaler leaves alone of each kind that it patches. RBAC knows verbs and not fields: whoever may patch a pod could
give it another image. */}}

{{/* To have a pod replaced while it serves, it is taken from its ReplicaSet and given to the Deployment. */}}
{{- define "spotscale.stays.pods" -}}
{{ include "spotscale.metadataStays" (list "k.startsWith('spotscale.dev/')" "k == 'pod-template-hash'" "o.kind in ['ReplicaSet', 'Deployment']") | trim }}
- expression: object.spec == oldObject.spec
  message: the autoscaler changes nothing of what a pod runs
{{- end -}}

{{/* A node that it still needs it has Karpenter leave alone; one that it empties it has load balancers outside leave alone, with a
label that it may set and take away again where nobody else has set it. */}}
{{- define "spotscale.stays.nodes" -}}
{{- $excluded := "node.kubernetes.io/exclude-from-external-load-balancers" }}
{{- $oursIn := "(!(k in %s) || %s[k] == 'spotscale-autoscaler')" }}
{{- $before := printf $oursIn "variables.labelsBefore" "variables.labelsBefore" }}
{{- $now := printf $oursIn "variables.labels" "variables.labels" }}
{{- include "spotscale.metadataStays" (list "k.startsWith('spotscale.dev/') || k == 'karpenter.sh/do-not-disrupt'"
    (printf "(k == '%s' && %s && %s)" $excluded $before $now) "false") | trim }}
- expression: >-
    (has(object.spec.taints) ? object.spec.taints : []).filter(t, t.key != 'spotscale.dev/interruption') ==
    (has(oldObject.spec.taints) ? oldObject.spec.taints : []).filter(t, t.key != 'spotscale.dev/interruption')
  message: the autoscaler changes no taint but its own
{{- end -}}

{{- define "spotscale.stays.nodeclaims" -}}
{{ include "spotscale.metadataStays" (list "k.startsWith('spotscale.dev/')" "false" "false") | trim }}
- expression: object.spec == oldObject.spec
  message: the autoscaler changes nothing of the machine that a NodeClaim asks for
{{- end -}}

{{- define "spotscale.stays.nodepools" -}}
{{ include "spotscale.metadataStays" (list "k.startsWith('spotscale.dev/')" "false" "false") | trim }}
- expression: object.spec.template == oldObject.spec.template
  message: the autoscaler leaves the template of a NodePool alone, or its nodes would drift
- expression: object.spec.disruption == oldObject.spec.disruption
  message: the autoscaler leaves the disruption budgets of a NodePool alone
{{- end -}}

{{/* What a pod of the DaemonSet leaves alone: every node but its own, and all of that but the notices. The API server itself
puts the node into the token of a pod, since Kubernetes 1.32. */}}
{{- define "spotscale.ownNodeOnly" -}}
- expression: >-
    "authentication.kubernetes.io/node-name" in request.userInfo.extra &&
    request.userInfo.extra["authentication.kubernetes.io/node-name"] == [object.metadata.name]
  message: a pod tells of its own node only
- expression: object.spec == oldObject.spec
  message: a pod tells of its node and changes nothing of it
{{ include "spotscale.metadataStays" (list "k == 'spotscale.dev/notices'" "false" "false") | trim }}
{{- end -}}

{{/* It gives back the machines of our pools, and no other: Karpenter gives a NodeClaim the labels of its NodePool's template. */}}
{{- define "spotscale.stays.deleted" -}}
{{- range splitList "," .Values.autoscaler.nodes }}
{{- $term := splitList "=" . }}
{{- $label := printf "%q" (first $term | trim) }}
- expression: >-
    {{ $label }} in variables.labelsBefore
    {{- if gt (len $term) 1 }} && variables.labelsBefore[{{ $label }}] == {{ last $term | trim | quote }}{{ end }}
  message: the autoscaler gives back no machine that is not ours
{{- end }}
{{- end -}}

{{/* A policy for what an account changes, and its binding. Takes (dict "root" $ "role" ROLE "resource" PLURAL "group"
API-GROUP "validations" NAME-OF-TEMPLATE), and "operation" DELETE for what it deletes. */}}
{{- define "spotscale.admission" -}}
{{- $root := .root -}}
{{- $account := printf "%s-%s" (include "spotscale.name" $root) .role -}}
{{- /* The namespace in front, because other releases may have the same name; it has no dot. */ -}}
{{- $operation := .operation | default "UPDATE" -}}
{{- $name := printf "%s.%s.%s" $root.Release.Namespace $account .resource -}}
{{- if eq $operation "DELETE" }}{{ $name = printf "%s.deleted" $name }}{{ end -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels:
    {{- include "spotscale.labels" (list $root .role) | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [{{ .group | quote }}]
        apiVersions: [v1]
        resources: [{{ .resource }}]
        operations: [{{ $operation }}]
  matchConditions:
    - name: by-{{ .role }}
      expression: request.userInfo.username == "system:serviceaccount:{{ $root.Release.Namespace }}:{{ $account }}"
  variables:
    {{- range $part, $none := dict "annotations" "{}" "labels" "{}" "finalizers" "[]" "ownerReferences" "[]" }}
    {{- range $variable, $object := dict $part "object" (printf "%sBefore" $part) "oldObject" }}
    - name: {{ $variable }}
      expression: "has({{ $object }}.metadata.{{ $part }}) ? {{ $object }}.metadata.{{ $part }} : {{ $none }}"
    {{- end }}
    {{- end }}
  validations:
    {{- include .validations $root | trim | nindent 4 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "spotscale.labels" (list $root .role) | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end -}}
