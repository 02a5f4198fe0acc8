import { createHash } from "node:crypto"
import { fileURLToPath } from "node:url"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiSwagger from "@effect/platform/HttpApiSwagger"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** The files of the page, as a browser asks for them. */
const files = {
  "/": "index.html",
  "/style.css": "style.css",
  "/sections.css": "sections.css",
  "/main.js": "main.js",
  "/api.js": "api.js",
  "/dom.js": "dom.js",
  "/nodes.js": "nodes.js",
  "/echo.js": "echo.js",
  "/plot.js": "plot.js",
  "/retry.js": "retry.js",
  "/forms.js": "forms.js",
  "/intruders.js": "intruders.js",
  "/experiments.js": "experiments.js",
  "/stream.js": "stream.js",
  "/tenants.js": "tenants.js",
  "/certificates.js": "certificates.js",
  "/icon.svg": "icon.svg",
  "/favicon.ico": "icon.svg"
} as const

const policy = (scripts: string, styles: string) =>
  [
    "default-src 'none'",
    `script-src ${scripts}`,
    `style-src ${styles}`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join("; ")

const csp = "content-security-policy"

const headers = { [csp]: policy("'self'", "'self'"), "cache-control": "no-cache" }

const pathOf = (file: string) => fileURLToPath(new URL(`page/${file}`, import.meta.url))

const page = HttpApiBuilder.Router.use((router) =>
  Effect.forEach(
    Object.entries(files),
    ([path, file]) =>
      router.get(
        path as `/${string}`,
        Effect.orDie(Effect.map(HttpServerResponse.file(pathOf(file)), HttpServerResponse.setHeaders(headers)))
      ),
    { discard: true }
  )
)

const scriptHashes = (html: string) =>
  [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)]
    .map(([, script = ""]) => `'sha256-${createHash("sha256").update(script).digest("base64")}'`)
    .join(" ")

/** Swagger has its script and its styles in the page: of scripts exactly that one may run. */
const docs = HttpApiSwagger.layer({ path: "/docs" })

/**
 * Swagger knows no dark mode, some of its texts are too pale to read (WCAG 2.1, 1.4.3), and it has a box for
 * authorization where there is nothing to authorize.
 */
const docsStyle = `<style>
html { background: #fff; }
.swagger-ui .scheme-container { display: none; }
.swagger-ui .info .title small.version-stamp { background-color: #4a6600; }
.swagger-ui .info .title small { background: #5a5f6b; }
.swagger-ui .opblock .opblock-summary-method { text-shadow: none; }
.swagger-ui .opblock.opblock-get .opblock-summary-method { background: #1d5fad; }
.swagger-ui .opblock.opblock-post .opblock-summary-method { background: #14703f; }
.swagger-ui .parameter__in, .swagger-ui .prop-format, .swagger-ui .info__extdocs, .swagger-ui .link { color: #565e6e; }
.swagger-ui .json-schema-2020-12-expand-deep-button { color: #454a55; }
.swagger-ui .microlight span[style*="211, 99, 99"] { color: #ffb0b0 !important; }
@media (prefers-color-scheme: dark) {
  html { background: #14161b; }
  .swagger-ui { filter: invert(0.92) hue-rotate(180deg); }
  .swagger-ui .highlight-code, .swagger-ui .microlight { filter: invert(1) hue-rotate(180deg); }
}
</style>`

const improved = (response: HttpServerResponse.HttpServerResponse) => {
  if (response.body._tag !== "Uint8Array") {
    return response
  }
  const html = new TextDecoder()
    .decode(response.body.body)
    .replace("<html", '<html lang="en"')
    .replace("</head>", () => `${docsStyle}</head>`)
  return HttpServerResponse.setHeader(
    HttpServerResponse.setBody(response, HttpBody.text(html, "text/html; charset=utf-8")),
    csp,
    policy(scriptHashes(html), "'unsafe-inline'")
  )
}

const docsPolicy = HttpApiBuilder.middleware((app) =>
  Effect.zipRight(
    HttpApp.appendPreResponseHandler((request, response) =>
      Effect.sync(() => (request.url === "/docs" ? improved(response) : response))
    ),
    app
  )
)

/** The page, the documentation of the API, and its OpenAPI document. */
export const layer = Layer.mergeAll(page, docs, docsPolicy, HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" }))
