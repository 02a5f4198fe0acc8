import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as GrpcReceiving from "../../src/Calls/GrpcReceiving.js"
import type { Handler } from "../../src/Calls/HttpMounts.js"
import * as HttpServing from "../../src/Calls/HttpServing.js"
import type { RequestHead } from "../../src/protocol/http/HttpFields.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import type { Peer } from "../../src/Transport/Peer.js"
import { captureLog } from "../suite/fixtures/observe.js"

const peer: Peer = { address: "a", identity: Option.none() }

const get: RequestHead = {
  method: "GET",
  scheme: "https",
  authority: "a.example",
  path: "/p?q=1",
  fields: [],
  contentLength: undefined
}

/** A request on a stream that only takes notes. */
const serve = (head: RequestHead, handler: Handler) =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const lines: Array<string> = []
    const kept = GrpcReceiving.makeKept()
    let sent = constVoid
    const stream: HttpServing.HttpStream = {
      sendHead: (section, isLast) => lines.push(`${section.map((field) => field.join("=")).join("&")} ${isLast}`),
      write: (content, onSent) => {
        lines.push(`write ${Buffer.from(content)}`)
        sent = onSent
      },
      end: () => lines.push("end"),
      stop: () => lines.push("stop"),
      fail: () => lines.push("fail"),
      pause: () => lines.push("pause"),
      resume: () => lines.push("resume")
    }
    const context: HttpServing.Context = {
      scheme: "https",
      peer,
      name: "a",
      boundary,
      useless: () => lines.push("useless"),
      kept,
      settings: { connectionWindow: 1000 }
    }
    let body: HttpServing.Body = { onData: constVoid, onEnd: constVoid, onGone: constVoid }
    const done = new Promise<void>((resolve) => {
      body = HttpServing.serve(context, stream, head, handler, resolve)
    })
    return { body, done: Effect.promise(() => done), kept, lines, onSent: () => sent() }
  })

const isLine = (lines: ReadonlyArray<string>, line: string) =>
  Effect.promise(async () => {
    while (!lines.includes(line)) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  })

describe("a plain request", () => {
  it.scopedLive("is what the handler gets, and is answered with what that returns", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const { done, lines } = yield* serve({ ...get, fields: [["x-a", "1"]] }, async (request, { address }) => {
        asked.push(`${request.method} ${request.url} ${request.headers.get("x-a")} ${address}`)
        return new Response(null, { status: 204, headers: { connection: "close", "X-B": " 2 " } })
      })
      yield* done
      expect(asked).toEqual(["GET https://a.example/p?q=1 1 a"])
      expect(lines).toEqual([":status=204&x-b=2 true", "stop"])
    })
  )

  const unfit: ReadonlyArray<readonly [string, Partial<RequestHead>]> = [
    ["CONNECT", { method: "CONNECT", scheme: undefined, path: undefined }],
    ["TRACE", { method: "TRACE" }],
    ["a method that is no token", { method: "G(T" }],
    ["no authority, so that the path would be one", { authority: undefined, path: "/metrics" }],
    ["an authority with a path", { authority: "a/b" }],
    ["an authority with a user", { authority: "user@a" }],
    ["an authority that is no host", { authority: "a:port" }],
    ["OPTIONS of everything", { method: "OPTIONS", path: "*" }]
  ]
  for (const [name, head] of unfit) {
    it.scopedLive(`that is none for a handler gets 400: ${name}`, () =>
      Effect.gen(function* () {
        const { done, lines } = yield* serve({ ...get, ...head }, () => Promise.reject(new Error("asked")))
        yield* done
        expect(lines).toEqual(["useless", ":status=400&content-length=0 true", "stop"])
      })
    )
  }

  it.scopedLive("gets content piece by piece, and nothing for pieces without any", () =>
    Effect.gen(function* () {
      const pieces = ["", "one", "", "two"]
      const body = new ReadableStream<Uint8Array>({
        pull: (controller) => {
          const next = pieces.shift()
          if (next === undefined) {
            controller.close()
          } else {
            controller.enqueue(new TextEncoder().encode(next))
          }
        }
      })
      const { done, lines, onSent } = yield* serve(get, async () => new Response(body))
      yield* isLine(lines, "write one")
      expect(lines).toEqual([":status=200 false", "write one"])
      onSent()
      yield* isLine(lines, "write two")
      onSent()
      yield* done
      expect(lines.slice(2)).toEqual(["write two", "end", "stop"])
    })
  )

  it.scopedLive("HEAD gets no content, whatever the handler returns", () =>
    Effect.gen(function* () {
      const { done, lines } = yield* serve({ ...get, method: "HEAD" }, async () => new Response("content"))
      yield* done
      expect(lines).toEqual([":status=200&content-type=text/plain;charset=UTF-8 true", "stop"])
    })
  )

  it.scopedLive("whose handler returns no answer is reset, and that is logged", () =>
    Effect.gen(function* () {
      const { layer, lines: logged } = yield* captureLog
      const { done, lines } = yield* Effect.provide(
        serve(get, async () => Response.error()),
        layer
      )
      yield* done
      expect(lines).toEqual(["fail"])
      expect(logged.map(({ text }) => text).join()).toContain("answered with status 0")
    })
  )

  it.scopedLive("content that nobody reads holds its sender up, and counts until the request is over", () =>
    Effect.gen(function* () {
      const { body, done, kept, lines } = yield* serve(
        { ...get, method: "POST" },
        ({ signal }) =>
          new Promise((resolve) => signal.addEventListener("abort", () => resolve(new Response(null)), { once: true }))
      )
      body.onData(Buffer.alloc(600))
      expect([kept.unread, lines]).toEqual([600, []])
      body.onData(Buffer.alloc(600))
      expect([kept.unread >= 1200, lines]).toEqual([true, ["pause"]])
      body.onGone()
      yield* done
      expect(kept.unread).toBe(0)
    })
  )
})
