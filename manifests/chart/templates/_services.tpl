{{/* Which services the front holds requests for. */}}

{{/* The bundled model's service: NAMESPACE/NAME. */}}
{{- define "spotscale.modelService" -}}
{{ .Release.Namespace }}/{{ include "spotscale.name" . }}-model
{{- end -}}

{{/* The service that takes what fits no route. */}}
{{- define "spotscale.defaultService" -}}
{{- $defaults := list -}}
{{- if .Values.model.enabled -}}
{{- $defaults = append $defaults (include "spotscale.modelService" .) -}}
{{- end -}}
{{- range .Values.front.services -}}
{{- if not (or .path .host) -}}
{{- $defaults = append $defaults .name -}}
{{- end -}}
{{- end -}}
{{- if not $defaults -}}
{{- fail "front.services: one service must have neither path nor host, because it takes what fits no other; or set model.enabled" -}}
{{- end -}}
{{- if gt (len $defaults) 1 -}}
{{- fail (printf "front.services: %s all take what fits no other; give a path or a host to all but one" (join ", " $defaults)) -}}
{{- end -}}
{{- first $defaults -}}
{{- end -}}

{{/* The namespaces of the Services behind front.services, as a JSON list. */}}
{{- define "spotscale.serviceNamespaces" -}}
{{- $namespaces := list -}}
{{- range $service := .Values.front.services -}}
{{- range $service.backends | default (list (dict "service" $service.name)) -}}
{{- $namespaces = append $namespaces (first (splitList "/" .service)) -}}
{{- end -}}
{{- end -}}
{{- $namespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* A Kubernetes Service with replicas of a service. Takes (list NAMESPACE/NAME-OF-SERVICE BACKEND). */}}
{{- define "spotscale.backend" -}}
{{- $backend := index . 1 -}}
--kubernetes-service={{ $backend.service }}{{ with $backend.port }}:{{ . }}{{ end }} service={{ index . 0 }}
{{- with $backend.tier }} tier={{ . }}{{ end }}
{{- with $backend.concurrency }} concurrency={{ . }}{{ end }}
{{- end -}}
