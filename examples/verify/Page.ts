import { createHash } from "node:crypto"
import { fileURLToPath } from "node:url"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiSwagger from "@effect/platform/HttpApiSwagger"
import * as HttpApp from "@effect/platform/HttpApp"
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

const docsPolicy = HttpApiBuilder.middleware((app) =>
  Effect.zipRight(
    HttpApp.appendPreResponseHandler((request, response) =>
      Effect.sync(() =>
        request.url === "/docs" && response.body._tag === "Uint8Array"
          ? HttpServerResponse.setHeader(
              response,
              csp,
              policy(scriptHashes(new TextDecoder().decode(response.body.body)), "'unsafe-inline'")
            )
          : response
      )
    ),
    app
  )
)

/** The page, the documentation of the API, and its OpenAPI document. */
export const layer = Layer.mergeAll(page, docs, docsPolicy, HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" }))
