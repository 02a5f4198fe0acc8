import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiError from "@effect/platform/HttpApiError"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Api } from "./Api.js"
import { httpStatus } from "./httpStatus.js"
import { limits } from "./inputs.js"

const loopback = new Set(["127.0.0.1", "localhost", "[::1]"])

const hostname = (host: string | undefined) => (host ?? "").replace(/:\d*$/, "").toLowerCase()

/** Why a request is not looked at any further. */
const refusal = ({ headers, method }: HttpServerRequest.HttpServerRequest) => {
  const { host, origin } = headers
  if (!loopback.has(hostname(host))) {
    return { _tag: "Forbidden", message: "this app is called by the name of the loopback interface only" } as const
  }
  if (method !== "GET" && method !== "HEAD" && origin !== undefined && origin !== `http://${host}`) {
    return { _tag: "Forbidden", message: `pages of ${origin} may not do this` } as const
  }
  return Number(headers["content-length"] ?? 0) > limits.body
    ? ({ _tag: "BodyTooLarge", message: `the body has more than ${limits.body} bytes` } as const)
    : undefined
}

const body = (status: number, _tag: string, message: string) =>
  HttpServerResponse.unsafeJson({ _tag, message }, { status })

const errorsOf = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> => [
  ...Cause.failures(cause),
  ...Cause.defects(cause)
]

/** A body for what the platform answers with an empty one or a tree: unknown paths, and input that can't be read. */
const explain = (
  { method, url }: HttpServerRequest.HttpServerRequest,
  cause: Cause.Cause<never>
): Effect.Effect<HttpServerResponse.HttpServerResponse, HttpApiError.HttpApiDecodeError> => {
  for (const error of errorsOf(cause)) {
    if (error instanceof HttpServerError.RouteNotFound) {
      return Effect.succeed(body(404, "NotFound", `there is no ${method} ${url}`))
    }
    if (error instanceof HttpServerError.RequestError) {
      const message = `the body is not JSON, or has more than ${limits.body} bytes`
      return Effect.fail(
        new HttpApiError.HttpApiDecodeError({ issues: [{ _tag: "Type", path: [], message }], message })
      )
    }
    if (error instanceof HttpApiError.HttpApiDecodeError) {
      return Effect.fail(readable(error))
    }
  }
  return Effect.failCause(cause)
}

/** One line for each field that is wrong, which names it. */
const readable = ({ issues }: HttpApiError.HttpApiDecodeError): HttpApiError.HttpApiDecodeError => {
  const byField = new Map<string, typeof HttpApiError.Issue.Type>()
  for (const issue of issues) {
    const field = issue.path.join(".")
    const message = field === "" || issue.message.startsWith(field) ? issue.message : `${field} ${issue.message}`
    // Of a field that may be left out, the second issue is that it was not.
    if (!byField.has(field)) {
      byField.set(field, { ...issue, message })
    }
  }
  const lines = [...byField.values()]
  return new HttpApiError.HttpApiDecodeError({ issues: lines, message: lines.map(({ message }) => message).join("; ") })
}

const headers = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin"
}

/**
 * What holds for each request: other sites can neither read answers, by pointing a name of theirs at this machine, nor
 * have a node killed by a form of theirs; and each error has a body.
 */
export const layer = HttpApiBuilder.middleware(Api, (app) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const refused = refusal(request)
    const response =
      refused === undefined
        ? Effect.catchAllCause(HttpServerRequest.withMaxBodySize(app, Option.some(limits.body)), (cause) =>
            explain(request, cause)
          )
        : Effect.succeed(body(httpStatus[refused._tag], refused._tag, refused.message))
    return Effect.zipRight(
      HttpApp.appendPreResponseHandler((_, response) =>
        Effect.succeed(HttpServerResponse.setHeaders(response, headers))
      ),
      response
    )
  })
)
