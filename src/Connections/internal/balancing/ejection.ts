/** Takes endpoints that fail or are slow out for a while, and asks them how they are before they get calls again. */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as EffectFiber from "../../../effect/Fiber.js"
import type { CallError } from "../../../Transport/TransportError.js"
import type { Host, Member } from "./member.js"
import * as Outlier from "./outlier.js"
import type { Settings } from "./settings.js"

export interface Ejection {
  /** A call has succeeded. A stream has no latency. */
  readonly succeeded: (member: Member, latency: number | undefined) => void
  /** A call has failed with something that this library knows. */
  readonly failed: (member: Member, error: CallError) => void
}

/** Failures that may lie with the endpoint. */
const faults: ReadonlySet<string> = new Set(["DeadlineExceeded", "Unavailable", "Internal", "Unknown", "DataLoss"])

/** So often is an endpoint compared with the others, in calls. */
const comparedEvery = 16

const isUp = ({ state }: Member) => state === "ready" || state === "ejected"

export const make = (
  { health, outliers }: Settings,
  run: Host["run"],
  members: () => ReadonlyArray<Member>
): Ejection => {
  /** What lets them in again. */
  const returning = new WeakMap<Member, Fiber.RuntimeFiber<void>>()

  const eject = (member: Member, reason: string) => {
    if (member.state !== "ready") {
      return
    }
    const all = members()
    const up = all.filter(isUp)
    const ejected = up.filter(({ state }) => state === "ejected").length
    if (Outlier.mayEject(ejected, up.length)) {
      member.eject(reason)
      EffectFiber.interruptUnsafe(returning.get(member))
      returning.set(member, run(readmit(member)))
    }
  }

  /** Until it answers, or is connected to anew. */
  const readmit = (member: Member): Effect.Effect<void> =>
    Effect.suspend(() => {
      const pause = Outlier.nextEjection({ ...member.record, ejections: member.record.ejections - 1 }, outliers)
      return Effect.zipRight(
        Effect.sleep(pause),
        Effect.suspend(() => {
          if (member.state !== "ejected") {
            return Effect.sync(() => member.readmit())
          }
          return Effect.flatMap(health === undefined ? Effect.succeed(0) : member.probe(), (millis) => {
            if (millis === undefined && member.state === "ejected") {
              Outlier.ejected(member.record)
              return readmit(member)
            }
            return Effect.sync(() => {
              Outlier.readmitted(member.record, outliers)
              member.readmit()
            })
          })
        })
      )
    })

  return {
    succeeded: (member, latency) => {
      const { record } = member
      Outlier.succeeded(record, latency)
      if (latency !== undefined && record.samples % comparedEvery === 0) {
        const others = members().filter((other) => other !== member && isUp(other))
        const isSlow = Outlier.isSlow(
          record,
          others.map((other) => other.record),
          outliers
        )
        if (isSlow) {
          eject(member, `its calls take ${record.latency.toFixed(1)} ms on average, much longer than those of others`)
        }
      }
    },
    failed: (member, error) => {
      if (faults.has(error._tag) && Outlier.failed(member.record, error._tag === "Unavailable", outliers)) {
        eject(
          member,
          `${member.record.failures} calls in a row have failed, the last with ${error._tag}: ${error.message}`
        )
      }
    }
  }
}
