/** Endpoints as a client takes them from whatever lists them: read, without duplicates, and not too many. */
import * as Either from "effect/Either"
import * as LogLevel from "effect/LogLevel"
import { type Boundary, describe, escapeText } from "../../../Transport/internal/boundary.js"
import * as Peer from "../../../Transport/Peer.js"
import type { TargetNames } from "../../../Transport/TransportService.js"

/** What a list has of one endpoint. See `Discovery.Endpoint`. */
export interface Input {
  readonly address: string
  readonly alternatives?: ReadonlyArray<string> | undefined
  readonly serverName?: string | undefined
  readonly hostName?: string | undefined
  readonly weight?: number | undefined
  readonly priority?: number | undefined
  readonly attributes?: Readonly<Record<string, string>> | undefined
}

export type Listed = ReadonlyArray<Input | string>

/** An endpoint that can be connected to. */
export interface Endpoint {
  /** Tells it from all others: where it is, and by which name it is verified. */
  readonly id: string
  readonly address: string
  readonly target: Peer.Target
  readonly names: TargetNames | undefined
  readonly weight: number
  readonly priority: number
  readonly attributes: Readonly<Record<string, string>>
}

/** Endpoints of one list; what is beyond is left out. */
export const maxEndpoints = 10_000

/** Alternatives of one endpoint. */
const maxAlternatives = 16

const maxWeight = 1_000_000

const noAttributes: Readonly<Record<string, string>> = {}

const weightOf = (weight: unknown): number =>
  typeof weight === "number" && weight > 0 ? Math.max(1 / maxWeight, Math.min(weight, maxWeight)) : 1

const targetOf = (address: unknown): Either.Either<Peer.Target, string> =>
  typeof address === "string" ? Peer.parseTarget(address) : Either.left("an endpoint has no address")

const textOf = (name: unknown): string | undefined => (typeof name === "string" && name !== "" ? name : undefined)

/** Reads one entry. The left side says what is wrong with it. */
const read = (entry: Input | string): Either.Either<Endpoint, string> => {
  const input = typeof entry === "string" ? { address: entry } : entry
  return Either.map(targetOf(input.address), (target) => {
    const address = Peer.formatTarget(target)
    const serverName = textOf(input.serverName)
    const hostName = textOf(input.hostName)
    const alternatives = (input.alternatives ?? [])
      .slice(0, maxAlternatives)
      .flatMap((alternative) => Either.match(targetOf(alternative), { onLeft: () => [], onRight: (to) => [to] }))
    const isPlain = serverName === undefined && hostName === undefined && alternatives.length === 0
    return {
      id: isPlain
        ? address
        : [[address, ...alternatives.map(Peer.formatTarget)].sort().join(), serverName, hostName].join(" "),
      address,
      target,
      names: isPlain ? undefined : { serverName, hostName, alternatives },
      weight: weightOf(input.weight),
      priority: typeof input.priority === "number" && Number.isFinite(input.priority) ? input.priority : 0,
      attributes: input.attributes ?? noAttributes
    }
  })
}

/** What lists endpoints may be a program's own code: any of it may throw where it is read. */
const readSafely = (entry: Input | string): Either.Either<Endpoint, string> => {
  try {
    return read(entry)
  } catch (cause) {
    return Either.left(`an endpoint can't be read: ${describe(cause).text}`)
  }
}

/** The endpoints of a list, by id. What can't be read is left out, and so is what is beyond the limit, with a warning. */
export const clean = (listed: Listed, name: string, boundary: Boundary): ReadonlyMap<string, Endpoint> => {
  const endpoints = new Map<string, Endpoint>()
  let problem: string | undefined
  let dropped = 0
  const drop = (why: string) => {
    problem ??= why
    dropped += 1
  }
  try {
    for (const entry of listed) {
      if (endpoints.size >= maxEndpoints) {
        drop(`there are more than ${maxEndpoints}`)
        break
      }
      const endpoint = readSafely(entry)
      if (Either.isLeft(endpoint)) {
        drop(endpoint.left)
      } else if (!endpoints.has(endpoint.right.id)) {
        endpoints.set(endpoint.right.id, endpoint.right)
      }
    }
  } catch (cause) {
    drop(`the list can't be read: ${describe(cause).text}`)
  }
  if (problem !== undefined) {
    const what = dropped === 1 ? "an endpoint was" : `${dropped} endpoints were`
    boundary.log(
      LogLevel.Warning,
      "endpoints-dropped",
      `${what} left out of ${escapeText(name)}: ${escapeText(problem)}`
    )
  }
  return endpoints
}
