/** Rules made ready to be asked: what of a match is known of a connection, and what only of a call. */
import * as Net from "node:net"
import * as Option from "effect/Option"
import type { Match, MatchFields, Pattern, Subject } from "../../../Transport/AdmissionRules.js"
import * as Metadata from "../../../Transport/Metadata.js"
import type * as Peer from "../../../Transport/Peer.js"

/** Who is at the other end of a connection. */
export interface Who {
  readonly identity: Option.Option<Peer.Identity>
  /** The address without its port. */
  readonly source: string
}

/** A match that is ready. What it is asked may throw: that refuses. */
export interface Compiled {
  /** Whether a connection matches, as far as a connection can tell. A function may still match calls of it where it does not. */
  readonly connection: (who: Who) => boolean
  readonly isFunction: boolean
  /** Whether it is for a call of a connection that it may be for. Undefined where the connection alone decides. */
  readonly call: ((who: Who, path: string, metadata: Metadata.Metadata) => boolean) | undefined
  /** Whether `call` looks at more than the path. */
  readonly isByPath: boolean
  /** Whether it is for messages of this size. Undefined where their size does not matter. */
  readonly size: ((bytes: number) => boolean) | undefined
}

/** What is wrong with a match, in words that follow the name of its field. */
export class Malformed {
  constructor(readonly message: string) {}
}

type Test = (text: string) => boolean

const listOf = <A>(pattern: A | ReadonlyArray<A>): ReadonlyArray<A> =>
  Array.isArray(pattern) ? (pattern as ReadonlyArray<A>) : [pattern as A]

const testOf = (field: string, pattern: Pattern, normal: (text: string) => string = (text) => text): Test => {
  const texts = listOf<string>(pattern)
  if (texts.length === 0 || !texts.every((text) => typeof text === "string" && text !== "")) {
    throw new Malformed(`${field} is no text, or none at all`)
  }
  const inner = texts.find((text) => text.slice(0, -1).includes("*"))
  if (inner !== undefined) {
    throw new Malformed(`${field} ${JSON.stringify(inner)} has a * that is not at its end`)
  }
  const exact = new Set(texts.filter((text) => !text.endsWith("*")).map(normal))
  const prefixes = texts.filter((text) => text.endsWith("*")).map((text) => normal(text.slice(0, -1)))
  return (text) => exact.has(text) || prefixes.some((prefix) => text.startsWith(prefix))
}

/** Adds a network or an address. `::ffff:` addresses are compared as the IPv4 addresses that they are. */
const addNetwork = (list: Net.BlockList, text: string) => {
  const [address = "", bits, ...rest] = text.split("/")
  const family = Net.isIP(address)
  const width = family === 4 ? 32 : 128
  const prefix = bits === undefined ? width : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN
  if (family === 0 || rest.length > 0 || !(prefix <= width) || address.includes("%")) {
    throw new Malformed(`source ${JSON.stringify(text)} is no address or network`)
  }
  list.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6")
}

const networksOf = (source: string | ReadonlyArray<string>): Test => {
  const list = new Net.BlockList()
  for (const text of listOf<string>(source)) {
    addNetwork(list, String(text))
  }
  return (text) => {
    const address = text.split("%")[0] ?? ""
    const family = Net.isIP(address)
    return family !== 0 && list.check(address, family === 4 ? "ipv4" : "ipv6")
  }
}

const sizeOf = ({ max, min }: NonNullable<MatchFields["size"]>) => {
  const from = min ?? 0
  const to = max ?? Number.POSITIVE_INFINITY
  if (!(from >= 0) || !(to >= from)) {
    throw new Malformed("size is no range of bytes")
  }
  return (bytes: number) => bytes >= from && bytes <= to
}

const fingerprint = (text: string) => text.replaceAll(":", "").toLowerCase()

const identityTests = (match: MatchFields): ReadonlyArray<(identity: Peer.Identity) => boolean> => {
  const tests: Array<(identity: Peer.Identity) => boolean> = []
  if (match.spiffeId !== undefined) {
    const test = testOf("spiffeId", match.spiffeId)
    tests.push(({ spiffeId }) => Option.isSome(spiffeId) && test(spiffeId.value))
  }
  if (match.san !== undefined) {
    const test = testOf("san", match.san)
    tests.push(({ subjectAltNames }) => subjectAltNames.some(test))
  }
  if (match.fingerprint !== undefined) {
    const test = testOf("fingerprint", match.fingerprint, fingerprint)
    tests.push((identity) => test(identity.fingerprint))
  }
  return tests
}

const metadataTest = (wanted: NonNullable<MatchFields["metadata"]>): ((metadata: Metadata.Metadata) => boolean) => {
  const tests = Object.entries(wanted).map(
    ([key, value]) => [key.toLowerCase(), testOf(`metadata.${key}`, value)] as const
  )
  return (metadata) =>
    tests.every(([key, test]) =>
      Metadata.getAll(metadata, key).some((value) => typeof value === "string" && test(value))
    )
}

const ofFields = (match: MatchFields): Compiled => {
  const identity = identityTests(match)
  const network = match.source === undefined ? undefined : networksOf(match.source)
  const method = match.method === undefined ? undefined : testOf("method", match.method)
  const metadata = match.metadata === undefined ? undefined : metadataTest(match.metadata)
  return {
    connection: (who) =>
      (network === undefined || network(who.source)) &&
      (identity.length === 0 ||
        (Option.isSome(who.identity) && identity.every((test) => Option.exists(who.identity, test)))),
    call:
      method === undefined && metadata === undefined
        ? undefined
        : (_, path, received) => (method?.(path) ?? true) && (metadata?.(received) ?? true),
    isFunction: false,
    isByPath: metadata === undefined,
    size: match.size === undefined ? undefined : sizeOf(match.size)
  }
}

/** An answer that is neither true nor false, as a promise, is no answer. */
const answerOf = (f: (subject: Subject) => boolean, subject: Subject): boolean => {
  const answer: unknown = f(subject)
  if (typeof answer !== "boolean") {
    throw new TypeError("a match answered neither true nor false")
  }
  return answer
}

const ofFunction = (f: (subject: Subject) => boolean): Compiled => ({
  connection: (who) => answerOf(f, { ...who, method: Option.none(), metadata: Metadata.empty }),
  call: (who, path, metadata) => answerOf(f, { ...who, method: Option.some(path), metadata }),
  isFunction: true,
  isByPath: false,
  size: undefined
})

const known = new Set(["spiffeId", "san", "fingerprint", "method", "source", "size", "metadata"])

/** Makes a match ready, or throws `Malformed`. */
export const compile = (match: Match): Compiled => {
  if (typeof match === "function") {
    return ofFunction(match)
  }
  if (typeof match !== "object" || match === null) {
    throw new Malformed("match is neither fields nor a function")
  }
  // A field that is misspelt would match everything.
  const unknown = Object.keys(match).find((field) => !known.has(field))
  if (unknown !== undefined) {
    throw new Malformed(`match has no field ${JSON.stringify(unknown)}`)
  }
  return ofFields(match)
}
