/** Which endpoints are connected to: all, some of many, or the first that works. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as EffectFiber from "../../../effect/Fiber.js"
import type { Host, Member } from "./member.js"
import * as Rendezvous from "./rendezvous.js"
import type { Settings } from "./settings.js"

/** Decides by what the members' states are, each time that one changes. */
export interface Selection {
  /** The list has changed, or a member's state has: connects to members and leaves others. */
  readonly update: (members: ReadonlyMap<string, Member>) => void
  /** Those that calls may go to, as far as they are ready. */
  readonly isSelected: (member: Member) => boolean
  /** A member is needed although it is not among those that are connected to. */
  readonly need: (member: Member) => void
}

/**
 * Up to so many, and others in the place of those that fail: the same for a client whatever its list's order is. One that is tried
 * again still counts as failing, because whoever stands in for it would be left and connected to with each attempt, which is
 * a hot loop where many can't be reached.
 */
const some = (subset: number, seed: number, isOnDemand: boolean): Selection => {
  const needed = new Set<Member>()
  let ranked: ReadonlyArray<Member> = []
  let of: ReadonlyMap<string, Member> | undefined
  return {
    update: (members) => {
      if (members.size <= subset) {
        for (const member of members.values()) {
          member.connect()
        }
        return
      }
      for (const member of needed) {
        if (members.get(member.endpoint.id) !== member) {
          needed.delete(member)
        }
      }
      if (isOnDemand) {
        return
      }
      const isNew = of !== members
      if (isNew) {
        ranked = Rendezvous.rank(members.values(), seed)
        of = members
      }
      let wanted = subset
      const limit = 2 * subset
      const looked = isNew ? ranked : ranked.slice(0, limit)
      looked.forEach((member, index) => {
        if (index < limit && index < wanted) {
          wanted += member.hasFailed ? 1 : 0
          member.connect()
        } else if (member.state !== "idle" && !needed.has(member)) {
          member.leave()
        }
      })
    },
    isSelected: () => true,
    need: (member) => {
      needed.add(member)
      member.connect()
    }
  }
}

/** How long an attempt may be silent until the next begins beside it (RFC 8305, section 5). */
const attemptDelay = "250 millis"

/** The first of the list that can be reached, until it is lost. */
const first = (run: Host["run"]): Selection => {
  let selected: Member | undefined
  /** How many of the list are being tried. */
  let tried = 0
  let stop = constVoid
  let current: ReadonlyArray<Member> = []

  const arm = () => {
    stop()
    const fiber = run(
      Effect.zipRight(
        Effect.sleep(attemptDelay),
        Effect.sync(() => tryNext())
      )
    )
    stop = () => EffectFiber.interruptUnsafe(fiber)
  }

  const tryNext = () => {
    if (selected === undefined && tried < current.length) {
      const member = current[tried]
      tried += 1
      arm()
      member?.connect()
    }
  }

  return {
    update: (members) => {
      current = [...members.values()].sort((a, b) => a.endpoint.priority - b.endpoint.priority)
      if (selected !== undefined && (members.get(selected.endpoint.id) !== selected || selected.state !== "ready")) {
        selected = undefined
        tried = 0
      }
      selected ??= current.find(({ state }) => state === "ready")
      if (selected !== undefined) {
        stop()
        for (const member of current) {
          if (member !== selected && member.state !== "idle") {
            member.leave()
          }
        }
        return
      }
      if (tried === 0 || current.slice(0, tried).every(({ state }) => state !== "connecting")) {
        tryNext()
      }
    },
    isSelected: (member) => member === selected,
    need: constVoid
  }
}

export const make = ({ balance, subset }: Settings, seed: number, run: Host["run"]): Selection =>
  balance === "pickFirst" ? first(run) : some(subset, seed, typeof balance !== "string")
