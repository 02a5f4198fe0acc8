/** Where PEM comes from, and its blocks. No error here holds anything of what was read. */
import { readFile, stat } from "node:fs/promises"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { CredentialsError } from "../../Transport/TransportError.js"
import { codeOf } from "../TlsAlert.js"

/**
 * PEM: its text or bytes, or the file that holds it. A string (or a redacted one) that begins with `/`, `./` or `../`
 * is the path of a file.
 *
 * @since 0.1.0
 * @category models
 */
export type PemSource = string | Uint8Array | Redacted.Redacted | { readonly file: string }

/** What went wrong with which part, before anything is known of what the part holds. */
export interface Part {
  readonly part: "cert" | "key" | "ca" | "pins" | "crl" | "pfx"
  readonly file?: string | undefined
}

/** The text of a source, with the part and file to name in an error. */
export interface Read extends Part {
  readonly text: string
}

/** One block, from its BEGIN line to its END line. */
export interface Block {
  readonly label: string
  readonly text: string
}

/** No chain, key or bundle comes near this; the bundle of all public CAs has 0.2 MiB. */
const maxBytes = 1024 * 1024

export const failure = (
  { file, part }: Part,
  reason: CredentialsError["reason"],
  problem: string,
  notAfter?: Date
): CredentialsError =>
  new CredentialsError({
    reason,
    part,
    message: `${part}${file === undefined ? "" : ` (${file})`}: ${problem}`,
    ...(file === undefined ? {} : { file }),
    ...(notAfter === undefined ? {} : { notAfter })
  })

/**
 * Base64 has `/` too: a line of a key whose armour was lost must be neither opened nor named in an error. So 40
 * characters or more of nothing but base64 are no path; what such a file is called can still be given as `{ file }`.
 */
const isPath = (text: string): boolean =>
  /^\.{0,2}\//.test(text) && text.length <= 4096 && !/[\n\r\0]/.test(text) && !/^[A-Za-z0-9+/=]{40,}$/.test(text)

/** The file that a source is in. */
export const fileOf = (source: PemSource): ReadonlyArray<string> => {
  const value = Redacted.isRedacted(source) ? Redacted.value(source) : source
  return typeof value === "string" ? (isPath(value) ? [value] : []) : value instanceof Uint8Array ? [] : [value.file]
}

/** Reads a source. */
export const read = (part: Part["part"], source: PemSource): Effect.Effect<Read, CredentialsError> => {
  const value = Redacted.isRedacted(source) ? Redacted.value(source) : source
  if (typeof value === "string") {
    return isPath(value) ? readPath(part, value) : fromText({ part }, value)
  }
  return value instanceof Uint8Array
    ? fromText({ part }, Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("latin1"))
    : readPath(part, value.file)
}

const fromText = (part: Part, text: string): Effect.Effect<Read, CredentialsError> =>
  text.length > maxBytes
    ? Effect.fail(failure(part, "Malformed", "larger than 1 MiB"))
    : Effect.succeed({ ...part, text })

const readPath = (part: Part["part"], file: string): Effect.Effect<Read, CredentialsError> =>
  Effect.gen(function* () {
    const failed = (error: unknown) => fileFailure({ part, file }, codeOf(error))
    const info = yield* Effect.tryPromise({ try: () => stat(file), catch: failed })
    if (!info.isFile()) {
      return yield* failure({ part, file }, "Malformed", "not a regular file")
    }
    if (info.size > maxBytes) {
      return yield* failure({ part, file }, "Malformed", "larger than 1 MiB")
    }
    return yield* fromText(
      { part, file },
      yield* Effect.tryPromise({ try: () => readFile(file, "latin1"), catch: failed })
    )
  })

const notFound = ["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE"]

const fileFailure = (part: Part, code: string): CredentialsError =>
  notFound.includes(code)
    ? failure(part, "NotFound", "there is no such file")
    : failure(part, "AccessDenied", `can't be read (${code === "" ? "unknown error" : code})`)

const boundary = /^-----(BEGIN|END) ([A-Z0-9 ]{1,64})-----$/

/**
 * The PEM blocks of the text, whatever stands between them (RFC 7468 allows explanatory text); nothing where a block
 * has no end, as in a file that was cut off. One pass over the lines: the time is linear whatever the text is.
 *
 * A text without line breaks may have them as `\n`, as environment variables often do.
 */
export const blocks = (text: string): ReadonlyArray<Block> | undefined => {
  const found: Array<Block> = []
  let open: { readonly label: string; readonly lines: Array<string> } | undefined
  for (const raw of (text.includes("\n") ? text : text.replaceAll("\\n", "\n")).split(/\r\n|\n|\r/)) {
    const line = raw.trim()
    const [, kind, label = ""] = boundary.exec(line) ?? []
    if (kind === "BEGIN") {
      if (open !== undefined) {
        return undefined
      }
      open = { label, lines: [line] }
    } else if (kind === "END") {
      if (open?.label !== label) {
        return undefined
      }
      found.push({ label, text: `${[...open.lines, line].join("\n")}\n` })
      open = undefined
    } else {
      open?.lines.push(line)
    }
  }
  return open === undefined ? found : undefined
}

/** DER as PEM. */
export const armoured = (label: string, der: Uint8Array): string => {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? []
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n")
}
