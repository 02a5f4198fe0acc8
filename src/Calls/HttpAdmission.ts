/** How plain HTTP requests are let in: like calls, by their path and their fields. What is refused gets a status of HTTP. */
import * as Fiber from "../effect/Fiber.js"
import type { Fields } from "../protocol/Fields.js"
import type { RequestHead } from "../protocol/http/HttpFields.js"
import type { Pass, Visit, Waiting } from "../Transport/internal/admissionGate.js"
import { retryDelay } from "../Transport/internal/retryDelay.js"
import * as Time from "../Transport/internal/time.js"
import * as Timers from "../Transport/internal/timers.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as GrpcServerHead from "./GrpcServerHead.js"

/** Asks for a request; undefined where there is nobody to ask. */
export const enter = (visit: Visit | undefined, head: RequestHead): Pass | StatusError | undefined => {
  const [path = ""] = (head.path ?? "").split("?", 1)
  const { metadata } = GrpcServerHead.read(head)
  return visit?.enter(path, metadata, Time.now(Fiber.liveClock), Number.POSITIVE_INFINITY, false)
}

/** Waits until a request may begin. Returns what gives up. */
export const wait = (waiting: Waiting, begin: () => void, refuse: (error: StatusError) => void): (() => void) => {
  const stop = Timers.after(waiting.maxWait, () => refuse(waiting.overdue()))
  waiting.onTurn = () => {
    stop()
    begin()
  }
  waiting.onRefused = (error) => {
    stop()
    refuse(error)
  }
  return stop
}

const statusOf = ({ _tag }: StatusError): number =>
  _tag === "PermissionDenied" ? 403 : _tag === "ResourceExhausted" ? 429 : 503

/** What a request gets that is not let in (RFC 6585, section 4, and RFC 9110, sections 10.2.3 and 15.6.4). */
export const refusalOf = (error: StatusError): { readonly status: number; readonly fields: Fields } => {
  const seconds = Math.ceil(retryDelay(error) / 1000)
  return { status: statusOf(error), fields: seconds > 0 ? [["retry-after", String(seconds)]] : [] }
}
