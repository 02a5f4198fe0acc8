/** The phases of a connection on a socket: what ends it, in which order, and what its peer is told. */
import { once } from "node:events"
import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as SocketConnection from "../../src/Connections/SocketConnection.js"
import * as SocketHandle from "../../src/Connections/SocketHandle.js"
import * as SocketState from "../../src/Connections/SocketState.js"
import type { Boundary } from "../../src/Transport/internal/boundary.js"

type Reason = "Bye" | "Rude" | "Slow"

class Rude extends Error {}

/** A connection that talks in text with a socket, and has calls as the test says. */
const connected = (options: { role?: "client" | "server"; frameTimeout?: number; keepalive?: number } = {}) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const server = Net.createServer().listen(0, "127.0.0.1")
      await once(server, "listening")
      const address = server.address()
      const socket = Net.connect(typeof address === "object" && address !== null ? address.port : 0, "127.0.0.1")
      const [[peer]] = await Promise.all([once(server, "connection") as Promise<[Net.Socket]>, once(socket, "connect")])
      server.close()
      const state = {
        calls: 0,
        caught: [] as Array<unknown>,
        seen: [] as Array<string>,
        got: "",
        said: "",
        out: "",
        isMidFrame: false,
        thrown: undefined as unknown
      }
      peer.on("data", (chunk) => {
        state.said += chunk.toString()
      })
      const boundary: Boundary = {
        caught: (_door, _peer, cause) => state.caught.push(cause),
        guard: (_door, _peer, f, end) => {
          try {
            f()
          } catch (cause) {
            state.caught.push(cause)
            end(cause)
          }
        },
        log: constVoid
      }
      const self: SocketState.SocketState<Reason> = SocketConnection.make<Reason>({
        source: { socket },
        role: options.role ?? "client",
        name: "peer",
        peer: { address: "peer", identity: Option.none() },
        boundary,
        protocol: {
          receive: (chunk) => {
            state.got += chunk.toString()
            if (state.got.includes("!")) {
              throw new Rude()
            }
            if (state.got.includes("?")) {
              throw new Error("a defect")
            }
            return chunk.length
          },
          came: () => 0,
          isMidFrame: () => state.isMidFrame,
          buffered: () => state.out.length,
          output: () => {
            const out = Buffer.from(state.out)
            state.out = ""
            return out.length === 0 ? [] : [out]
          },
          reclaim: constVoid,
          trim: constVoid,
          ping: (payload) => {
            state.out += `ping ${payload};`
          },
          goaway: (reason, text) => {
            state.out += `${reason}(${text});`
          },
          retire: () => {
            state.out += "retire;"
          },
          useless: () => {
            throw new Rude()
          }
        },
        dialect: {
          reasonFor: (fault, text) => ["Slow", `${fault}: ${text}`],
          violation: (cause) => (cause instanceof Rude ? { reason: "Rude", text: "rude" } : undefined),
          internal: undefined,
          peaceful: "Bye",
          hangUp: (it) => it.destroySoon()
        },
        limits: { maxConcurrentStreams: 1, maxMetadataSize: 1 },
        times: {
          keepaliveTime: options.keepalive ?? 60_000,
          keepaliveTimeout: options.keepalive ?? 60_000,
          frameTimeout: options.frameTimeout ?? 60_000
        },
        events: {
          onReceived: () => SocketState.checkIdle(self),
          onWritten: () => SocketState.checkIdle(self),
          onTimer: constVoid,
          isBusy: () => state.calls > 0,
          mayPing: () => true,
          onLeaving: () => state.seen.push("leaving"),
          onDone: () => SocketState.close(self, "Bye", "", self.goaway),
          onEnded: ({ reason }) => {
            state.seen.push(`ended ${reason} ${self.phase}`)
            if (state.thrown !== undefined) {
              throw state.thrown
            }
          }
        }
      })
      SocketConnection.start(self, { socket })
      return { self, state, socket, peer, handle: SocketHandle.make(self) }
    }),
    ({ peer, self }) =>
      Effect.sync(() => {
        SocketState.close(self, "Bye", "")
        self.socket.destroy()
        peer.destroy()
      })
  )

const local = (reason: Reason | "Internal", text: string) => ({ reason, text, refusedBy: "local" })

describe("SocketConnection", () => {
  it.scopedLive("tells the peer why it ends, once, and the first reason is the end for all who wait", () =>
    Effect.gen(function* () {
      const { handle, peer, self, state } = yield* connected()
      handle.close("Rude", "first")
      handle.close("Bye", "second")
      SocketState.fail(self, "engine", new Error("late"))
      expect(yield* handle.ended).toEqual(local("Rude", "first"))
      expect(yield* Effect.exit(handle.ready)).toEqual(Exit.fail(local("Rude", "first")))
      yield* handle.lost
      yield* handle.idle
      yield* handle.closed
      if (!peer.readableEnded) {
        yield* Effect.promise(() => once(peer, "end"))
      }
      expect(state.said).toBe("Rude(first);")
      expect(state.seen).toEqual(["ended Rude Ended"])
    })
  )

  it.scopedLive("ends for what the peer breaks and for what is thrown here, and says which it was", () =>
    Effect.gen(function* () {
      const rude = yield* connected()
      rude.peer.write("!")
      expect(yield* rude.handle.ended).toEqual(local("Rude", "rude"))
      expect(rude.state.caught).toEqual([])
      const defect = yield* connected()
      defect.peer.write("?")
      expect(yield* defect.handle.ended).toEqual(local("Internal", "internal error"))
      expect(defect.state.caught).toMatchObject([{ message: "a defect" }])
      const useless = yield* connected()
      SocketConnection.useless(useless.self)
      expect(yield* useless.handle.ended).toEqual(local("Rude", "rude"))
    })
  )

  it.scopedLive("ends for all who wait though what ran on it throws at the end", () =>
    Effect.gen(function* () {
      const { handle, state } = yield* connected()
      state.thrown = new Error("at the end")
      handle.close("Bye", "")
      expect(yield* handle.ended).toEqual(local("Bye", ""))
      yield* handle.closed
      expect(state.caught).toMatchObject([{ message: "at the end" }])
    })
  )

  it.scopedLive("of a client that leaves closes behind its last call, and of a listener does not", () =>
    Effect.gen(function* () {
      const client = yield* connected()
      client.state.calls = 1
      client.handle.leave()
      expect(client.handle.isLost()).toBe(true)
      expect(SocketState.isEnded(client.self)).toBe(false)
      client.state.calls = 0
      SocketState.closeWhenDone(client.self)
      expect(yield* client.handle.ended).toEqual(local("Bye", ""))
      expect(client.state.seen).toEqual(["leaving", "ended Bye Ended"])
      const listener = yield* connected({ role: "server" })
      listener.handle.leave()
      expect(SocketState.isEnded(listener.self)).toBe(false)
    })
  )

  it.scopedLive("that the peer has left ends for the peer's reason, whoever closes it in peace", () =>
    Effect.gen(function* () {
      const said = { reason: "Slow", text: "too_many_pings", refusedBy: "remote" } as const
      const closed = yield* connected()
      closed.state.calls = 1
      closed.self.goaway = said
      SocketState.lose(closed.self, "Lost")
      closed.handle.close("Bye", "")
      expect(yield* closed.handle.ended).toEqual(said)
      const refused = yield* connected()
      refused.self.goaway = said
      refused.handle.close("Rude", "revoked")
      expect(yield* refused.handle.ended).toEqual(local("Rude", "revoked"))
      const hungUp = yield* connected()
      hungUp.self.goaway = said
      hungUp.peer.destroy()
      expect(yield* hungUp.handle.ended).toEqual(said)
    })
  )

  it.scopedLive("asks the peer to go, and hears that it has received that", () =>
    Effect.gen(function* () {
      const { handle, self, state } = yield* connected()
      const retired = yield* Effect.fork(handle.retire)
      yield* Effect.promise(async () => {
        while (!state.said.includes("retire;ping 1;")) {
          await new Promise((resolve) => setImmediate(resolve))
        }
      })
      SocketConnection.onPong(self, 0n)
      expect(retired.unsafePoll()).toBe(null)
      SocketConnection.onPong(self, 1n)
      yield* retired
    })
  )

  it.scopedLive("pings a silent peer, and gives up one that does not answer or does not end a frame", () =>
    Effect.gen(function* () {
      const silent = yield* connected({ keepalive: 50 })
      expect(yield* silent.handle.ended).toEqual(local("Slow", "PingTimeout: no answer to a ping"))
      const slow = yield* connected({ frameTimeout: 50 })
      slow.state.isMidFrame = true
      slow.peer.write("part")
      expect(yield* slow.handle.ended).toEqual(local("Slow", "FrameTimeout: a frame was not finished in time"))
    })
  )
})
