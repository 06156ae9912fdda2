{{/* What several templates say: names, labels, the image, how a pod is locked down. */}}

{{- define "spotscale.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which the pods of a role are found. Takes (list . ROLE). */}}
{{- define "spotscale.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Name, namespace and labels of an object of a role. Takes (list . ROLE). */}}
{{- define "spotscale.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "spotscale.name" $root }}-{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
{{- include "spotscale.labels" . | nindent 2 }}
{{- end -}}

{{- define "spotscale.labels" -}}
{{- $root := index . 0 -}}
{{ include "spotscale.selector" . }}
app.kubernetes.io/part-of: spotscale
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{/* The image. */}}
{{- define "spotscale.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* The image with CUDA. */}}
{{- define "spotscale.cudaImage" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .cudaDigest }}@{{ .cudaDigest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}-cuda{{ end }}
{{- end -}}
{{- end -}}

{{/* The roles that are installed, as a JSON list. */}}
{{- define "spotscale.roles" -}}
{{- $roles := list "scaler" "front" -}}
{{- if .Values.model.enabled -}}
{{- $roles = append $roles "model" -}}
{{- end -}}
{{- if .Values.autoscaler.enabled -}}
{{- $roles = append $roles "autoscaler" -}}
{{- if .Values.autoscaler.notices.node.enabled -}}
{{- $roles = append $roles "node" -}}
{{- end -}}
{{- end -}}
{{- toJson $roles -}}
{{- end -}}

{{/* The names of the flags in a list of arguments, as a JSON list. */}}
{{- define "spotscale.flags" -}}
{{- $names := list -}}
{{- range . -}}
{{- with regexFind "^--[a-z0-9-]+" . -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* An address to listen on. Takes (list . PORT). */}}
{{- define "spotscale.listen" -}}
{{ ternary "[::]" "0.0.0.0" (index . 0).Values.ipv6 }}:{{ index . 1 }}
{{- end -}}

{{/* The scaler as KEDA and the fronts call it: a name with an address for each replica. */}}
{{- define "spotscale.scalerHost" -}}
{{ include "spotscale.name" . }}-scaler.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "spotscale.serverSecret" -}}
{{ .Values.tls.serverSecret | default (printf "%s-scaler-tls" (include "spotscale.name" .)) }}
{{- end -}}

{{- define "spotscale.clientSecret" -}}
{{ .Values.tls.clientSecret | default (printf "%s-client-tls" (include "spotscale.name" .)) }}
{{- end -}}

{{- define "spotscale.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- /* Otherwise each start of a pod sets the owner of every file anew, which takes long on a large volume. */}}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "spotscale.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What the pods of every role have in common. Takes (list . ROLE VALUES-OF-ROLE). */}}
{{- define "spotscale.pod" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "spotscale.name" $root }}-{{ $role }}
enableServiceLinks: false
securityContext:
  {{- include "spotscale.podSecurity" $root | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Spread over zones and nodes, each version of a Deployment by itself. Takes (list . ROLE). */}}
{{- define "spotscale.spread" -}}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    # One node is enough to start with.
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "spotscale.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{/* The name service, wherever it runs: some clusters have it on the node. */}}
{{- define "spotscale.dnsEgress" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* Prometheus, where it is asked: inside the cluster by its namespace, because a policy sees the pod's port and not the
Service's; elsewhere by the port of its URL. */}}
{{- define "spotscale.prometheusEgress" -}}
{{- with .Values.prometheus.url -}}
- to:
    - {{ include "spotscale.namespacePeer" $.Values.prometheus.namespace }}
- ports:
    - {port: {{ include "spotscale.urlPort" . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{/* The pods of a namespace, as a peer. Takes its name. */}}
{{- define "spotscale.namespacePeer" -}}
namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ . }}}}
{{- end -}}

{{/* The port of an http or https URL. */}}
{{- define "spotscale.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}
