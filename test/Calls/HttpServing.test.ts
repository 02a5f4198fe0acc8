import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as GrpcReceiving from "../../src/Calls/GrpcReceiving.js"
import type { Handler } from "../../src/Calls/HttpMounts.js"
import * as HttpServing from "../../src/Calls/HttpServing.js"
import type { RequestHead } from "../../src/protocol/http/HttpFields.js"
import type { Visit, Waiting } from "../../src/Transport/internal/admissionGate.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import type { Peer } from "../../src/Transport/Peer.js"
import { Unavailable } from "../../src/Transport/TransportError.js"
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
const serve = (head: RequestHead, handler: Handler, visit?: Visit, sendHead?: HttpServing.HttpStream["sendHead"]) =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const lines: Array<string> = []
    const kept = GrpcReceiving.makeKept()
    let sent = constVoid
    const stream: HttpServing.HttpStream = {
      sendHead:
        sendHead ?? ((section, isLast) => lines.push(`${section.map((field) => field.join("=")).join("&")} ${isLast}`)),
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
      visit,
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

/** An admission that has every request wait. */
const makeWaiting = () => {
  const state = { ended: 0 }
  const refusal = new Unavailable({ message: "too much to do", processed: "no" })
  const waiting: Waiting = { maxWait: 60_000, overdue: () => refusal, onTurn: constVoid, onRefused: constVoid }
  const visit: Visit = {
    enter: () => ({
      _tag: "Pass",
      waiting,
      received: () => refusal,
      receiveDelay: () => 0,
      sent: () => 0,
      ended: () => {
        state.ended += 1
      }
    }),
    spend: constVoid,
    leave: constVoid
  }
  return { refusal, state, visit, waiting }
}

describe("a plain request", () => {
  it.scopedLive("that waits is refused on its stream alone, also where that can't be written to", () =>
    Effect.gen(function* () {
      const never = () => Promise.reject<Response>(new Error("asked"))
      const one = makeWaiting()
      const refused = yield* serve(get, never, one.visit)
      one.waiting.onRefused(one.refusal)
      yield* refused.done
      expect(refused.lines).toEqual([":status=503&content-length=0 true", "stop"])

      const other = makeWaiting()
      const broken = yield* serve(get, never, other.visit, () => {
        throw new Error("gone")
      })
      other.waiting.onRefused(other.refusal)
      yield* broken.done
      broken.body.onGone()
      expect(broken.lines).toEqual(["fail"])
      expect([one.state.ended, other.state.ended]).toEqual([1, 1])
    })
  )

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
