/** Reads PEM from values and files, and finds its blocks. No error here holds anything of what was read. */
import { constants } from "node:fs"
import { open, stat } from "node:fs/promises"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { CredentialsError } from "../Transport/TransportError.js"
import { codeOf } from "./internal/nodeError.js"
import * as Steps from "./internal/steps.js"

/**
 * PEM: its text or bytes, or the file that holds it. A string (or a redacted one) that begins with `/`, `./` or `../`
 * is the path of a file.
 *
 * @since 0.1.0
 * @category models
 */
export type PemSource = string | Uint8Array | Redacted.Redacted | { readonly file: string }

/** A part of the credentials, for errors. */
export interface Part {
  readonly part: "cert" | "key" | "ca" | "trustDomains" | "pins" | "crl" | "pfx"
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

/** The bundle of all public CAs has 0.2 MiB; revocation lists grow for years. */
const maxMiB = ({ part }: Part): number => (part === "crl" ? 16 : 1)

const tooLarge = (part: Part) => failure(part, "Malformed", `larger than ${maxMiB(part)} MiB`)

const maxBytes = (part: Part): number => maxMiB(part) * 1024 * 1024

/** The part and its file, for messages. */
export const placeOf = ({ file, part }: Part): string => (file === undefined ? part : `${part} (${file})`)

export const failure = (
  { file, part }: Part,
  reason: CredentialsError["reason"],
  problem: string,
  notAfter?: Date
): CredentialsError =>
  new CredentialsError({
    reason,
    part,
    message: `${placeOf({ file, part })}: ${problem}`,
    ...(file === undefined ? {} : { file }),
    ...(notAfter === undefined ? {} : { notAfter })
  })

/**
 * Base64 has `/` too: a line of a key whose armour was lost must be neither opened nor named in an error. So 40
 * characters or more of nothing but base64 are no path; what such a file is called can still be given as `{ file }`.
 */
const isPath = (text: string): boolean =>
  /^\.{0,2}\//.test(text) && text.length <= 4096 && !/[\n\r\0]/.test(text) && !/^[A-Za-z0-9+/=]{40,}$/.test(text)

/** The file that a source is in, if it is in one. */
export const fileOf = (source: PemSource): ReadonlyArray<string> => {
  const value = Redacted.isRedacted(source) ? Redacted.value(source) : source
  return typeof value === "string" ? (isPath(value) ? [value] : []) : value instanceof Uint8Array ? [] : [value.file]
}

/**
 * Reads a source. Fails with `NotFound` if there is no such file, with `AccessDenied` if it can't be read within 5
 * seconds, and with `Malformed` if it is too large or no regular file.
 */
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
  text.length > maxBytes(part) ? Effect.fail(tooLarge(part)) : Effect.succeed({ ...part, text: decoded(text) })

/** How long a file may take: it may be on a disk of another machine. */
const readTimeout = Duration.seconds(5)

const readPath = (name: Part["part"], file: string): Effect.Effect<Read, CredentialsError> => {
  const part = { part: name, file }
  return Effect.tryPromise({
    try: () => readRegular(file, maxBytes(part)),
    catch: (error) => fileFailure(part, codeOf(error))
  }).pipe(
    Effect.timeoutFail({
      duration: readTimeout,
      onTimeout: () => failure(part, "AccessDenied", `can't be read within ${Duration.format(readTimeout)}`)
    }),
    Effect.flatMap((bytes) =>
      bytes === "NotRegular"
        ? Effect.fail(failure(part, "Malformed", "not a regular file"))
        : fromText(part, bytes.toString("latin1"))
    )
  )
}

/**
 * Reads a regular file, one byte more than allowed at most, whatever size it claims: files in /proc claim 0, and others
 * grow. Its kind is checked before it is opened, because opening a device has effects, and again afterwards, when it
 * can't be replaced any more. Opening never blocks, as it would for a pipe that nobody writes to.
 */
const readRegular = async (path: string, max: number): Promise<Buffer | "NotRegular"> => {
  if (!(await stat(path)).isFile()) {
    return "NotRegular"
  }
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  try {
    const info = await file.stat()
    if (!info.isFile()) {
      return "NotRegular"
    }
    const chunks: Array<Buffer> = []
    for (let length = 0; length <= max; ) {
      const { bytesRead, buffer } = await file.read(
        Buffer.allocUnsafe(Math.min(max + 1 - length, Math.max(info.size + 1 - length, 64 * 1024))),
        0
      )
      if (bytesRead === 0) {
        break
      }
      chunks.push(buffer.subarray(0, bytesRead))
      length += bytesRead
    }
    return Buffer.concat(chunks)
  } finally {
    await file.close()
  }
}

const base64OfPem = /^LS0tLS1CRUdJTi[A-Za-z0-9+/=\s]*$/

/**
 * The text as OpenSSL reads it: without a byte order mark, out of UTF-16 (as Windows PowerShell redirects it), and out
 * of base64 (as Kubernetes shows a secret). Bytes are characters here, of which PEM needs the ASCII ones alone.
 */
const decoded = (text: string): string => {
  const bytes = text.startsWith("\xff\xfe") || text.startsWith("\xfe\xff") ? Buffer.from(text, "latin1") : undefined
  if (bytes !== undefined && bytes.length % 2 === 0) {
    return (bytes[0] === 0xff ? bytes : bytes.swap16()).toString("utf16le").slice(1)
  }
  const plain = text.replace(/^(?:\xef\xbb\xbf|\ufeff)/, "")
  return base64OfPem.test(plain) ? Buffer.from(plain, "base64").toString("latin1") : plain
}

const notFound = ["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE"]

const fileFailure = (part: Part, code: string): CredentialsError =>
  notFound.includes(code)
    ? failure(part, "NotFound", "there is no such file")
    : failure(part, "AccessDenied", `can't be read (${code === "" ? "unknown error" : code})`)

const boundary = /^-----(BEGIN|END) ([A-Z0-9 ]{1,64})-----$/

/**
 * The PEM blocks of the text, with any text between them (RFC 7468 allows it); undefined if a block has no end, as in a
 * file that was cut off. One pass over the lines: the time is linear whatever the text is.
 *
 * Line breaks may be written as `\n`, within quotes or not, as environment variables and JSON often have them.
 */
export const blocks = (text: string): ReadonlyArray<Block> | undefined => Steps.runSync(scan(text))

/** The same in steps, for long text. */
export function* scan(text: string): Steps.Steps<ReadonlyArray<Block> | undefined> {
  const found: Array<Block> = []
  let open: { readonly label: string; readonly lines: Array<string> } | undefined
  let count = 0
  for (const [raw] of text.replaceAll("\\r", "").replaceAll("\\n", "\n").matchAll(anyLine)) {
    const line = raw.trim().replace(/^["']?(-----.*-----)["']?,?$/, "$1")
    const [, kind, label = ""] = boundary.exec(line) ?? []
    if (kind === "BEGIN") {
      if (open !== undefined) {
        return undefined
      }
      open = { label, lines: [] }
    } else if (kind === "END") {
      if (open?.label !== label) {
        return undefined
      }
      found.push({ label, text: yield* tidy(label, open.lines) })
      open = undefined
    } else {
      open?.lines.push(line)
    }
    count += 1
    if (count % linesBetweenYields === 0) {
      yield
    }
  }
  return open === undefined ? found : undefined
}

const anyLine = /[^\r\n]*(?:\r\n|\n|\r|$)/g

/** Lines that are read before it yields to other work. */
const linesBetweenYields = 2000

/**
 * A block in lines of 64 characters: some readers refuse longer or empty lines. A block with headers stays as it is.
 */
function* tidy(label: string, lines: ReadonlyArray<string>): Steps.Steps<string> {
  const body = lines.join("")
  return /^[A-Za-z0-9+/=]+$/.test(body) ? yield* inLines(label, body) : framed(label, lines)
}

const framed = (label: string, lines: ReadonlyArray<string>): string =>
  [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n")

function* inLines(label: string, base64: string): Steps.Steps<string> {
  const lines: Array<string> = []
  for (let at = 0; at < base64.length; at += 64) {
    lines.push(base64.slice(at, at + 64))
    if (lines.length % linesBetweenYields === 0) {
      yield
    }
  }
  return framed(label, lines)
}

/** The DER in one block of PEM. */
export const derOf = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]*-----/g, ""), "base64")

/** DER as PEM. */
export const armoured = (label: string, der: Buffer): Steps.Steps<string> => inLines(label, der.toString("base64"))
