/** What a listener keeps for each of its HTTP/2 connections: deadlines, windows and budgets. */
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import * as LogLevel from "effect/LogLevel"
import * as Deadlines from "../../../Calls/Deadlines.js"
import * as Waiting from "../../../Calls/Waiting.js"
import type { MemoryBudget } from "../../../Connections/MemoryBudget.js"
import * as Rate from "../../../protocol/Rate.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import type * as Peer from "../../../Transport/Peer.js"
import type { Settings } from "../../GrpcOptions.js"
import * as ReceiveWindow from "./receiveWindow.js"

/** What the calls of one connection of a listener have in common. */
export interface GrpcConnection {
  readonly peer: Peer.Peer
  readonly deadlines: Deadlines.Deadlines
  readonly window: ReceiveWindow.ReceiveWindow
  /** Whether so much is unsent that further answers wait. */
  readonly isFull: () => boolean
  readonly waiting: Waiting.Waiting
  /** So many bytes of an answer are on their way; below zero, so many are no more. */
  readonly unsent: (size: number) => void
  /** Something came that cost work and brought nothing. */
  readonly useless: () => void
  readonly onSession: (session: Http2.ServerHttp2Session) => void
  readonly stop: () => void
}

export const make = (
  socket: Net.Socket,
  peer: Peer.Peer,
  settings: Settings,
  boundary: Boundary,
  budget: MemoryBudget
): GrpcConnection => {
  let session: Http2.ServerHttp2Session | undefined
  let unsent = 0

  const close = (reason: string, text: string) => {
    boundary.log(
      LogLevel.Warning,
      `ended local ${reason}`,
      `the connection with ${peer.address} ended: ${reason}, ${text} (local)`
    )
    session?.goaway(Http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, undefined, Buffer.from(text))
    // The GOAWAY leaves at the end of this turn, if the peer reads.
    setImmediate(() => {
      session?.destroy()
      socket.destroy()
    })
  }

  const account = budget.open(() =>
    close("Overloaded", "the listener keeps more than it may, and most of it for this connection")
  )
  const onChange = () => account.set(unsent + window.size())
  const window: ReceiveWindow.ReceiveWindow = ReceiveWindow.make(settings.connectionWindow, onChange)
  const isFull = () => unsent > settings.maxUnsentBytes
  const waiting = Waiting.make(isFull)
  const isOver = Rate.make(settings.maxUselessRate)
  let isClosing = false

  const deadlines = Deadlines.make((cause) => {
    boundary.caught("timer", peer.address, cause)
    socket.destroy()
  })

  return {
    peer,
    deadlines,
    window,
    isFull,
    waiting,
    unsent: (size) => {
      unsent += size
      onChange()
      if (size < 0) {
        waiting.onRoom()
      }
    },
    useless: () => {
      if (isOver(performance.now()) && !isClosing) {
        isClosing = true
        close("ExcessiveLoad", `more than ${settings.maxUselessRate} in a second`)
      }
    },
    onSession: (opened) => {
      session = opened
    },
    stop: () => {
      deadlines.stop()
      account.close()
    }
  }
}
