/** A development CA in a folder: its key, its certificate, what it has issued, and what of that is revoked. */
import { X509Certificate } from "node:crypto"
import { rm, stat } from "node:fs/promises"
import { join } from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { DevCa } from "effect-transport"
import { exitCodes, Failure } from "../../shared/failure.js"
import * as Files from "../../shared/files.js"

/** A certificate that the CA has issued. */
const Entry = Schema.Struct({
  serial: Schema.String,
  subject: Schema.String,
  names: Schema.Array(Schema.String),
  fingerprint: Schema.String,
  issuedAt: Schema.String,
  notAfter: Schema.String,
  revokedAt: Schema.optional(Schema.String)
})

export type Entry = typeof Entry.Type

/** What the CA remembers. */
const Index = Schema.Struct({
  version: Schema.Literal(1),
  trustDomain: Schema.optional(Schema.String),
  issued: Schema.Array(Entry)
})

export type Index = typeof Index.Type

/** The files in the folder of a CA. */
export const paths = (dir: string) => ({
  cert: join(dir, "ca.crt"),
  key: join(dir, "ca.key"),
  crl: join(dir, "ca.crl"),
  index: join(dir, "index.json"),
  issued: join(dir, "issued"),
  lock: join(dir, "index.lock")
})

const indexText = (index: Index): string => `${JSON.stringify(index, undefined, 2)}\n`

/** A CA that was opened. */
export interface Authority {
  readonly dir: string
  readonly ca: DevCa.DevCa
  readonly certificate: X509Certificate
  readonly index: Index
}

const readIndex = (dir: string): Effect.Effect<Index, Failure> => {
  const path = paths(dir).index
  return Effect.flatMap(Files.readText(path), (text) =>
    Effect.mapError(
      Schema.decodeUnknown(Schema.parseJson(Index))(text),
      (cause) =>
        new Failure({
          message: `${path} is no index of a CA`,
          hint: "restore it from a backup, or begin anew: effect-transport certs new-ca --force",
          cause
        })
    )
  )
}

const notThere = (dir: string) =>
  new Failure({
    message: `there is no CA in ${dir}`,
    hint: `make one with effect-transport certs new-ca --ca-dir ${dir}, or give its folder with --ca-dir`
  })

const exists = (path: string): Effect.Effect<boolean> =>
  Effect.promise(() =>
    stat(path).then(
      () => true,
      () => false
    )
  )

/** Opens the CA in a folder. */
export const open = (dir: string): Effect.Effect<Authority, Failure> =>
  Effect.gen(function* () {
    const { cert, key } = paths(dir)
    if (!(yield* exists(cert))) {
      return yield* notThere(dir)
    }
    const pem = yield* Files.readText(cert)
    const index = yield* readIndex(dir)
    const ca = yield* Effect.mapError(
      DevCa.open({ ca: pem, key: Redacted.make(yield* Files.readText(key)) }),
      (cause) =>
        new Failure({
          message: `the CA in ${dir} can't be used: ${cause.message}`,
          hint: "restore ca.crt and ca.key from a backup, or make another CA",
          cause
        })
    )
    return { dir, ca, certificate: new X509Certificate(pem), index }
  })

/** Whoever changes the index has the lock; the file says whose it is. */
const lock = (dir: string): Effect.Effect<void, Failure, Scope.Scope> => {
  const path = paths(dir).lock
  return Effect.acquireRelease(
    Files.write({ path, data: `${process.pid}\n`, mode: Files.modes.secret }, false).pipe(
      Effect.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(100))),
      Effect.mapError(
        (cause) =>
          new Failure({
            message: `the CA in ${dir} is in use`,
            hint: `wait, or remove ${path} if no other command runs`,
            cause
          })
      )
    ),
    () => Effect.promise(() => rm(path, { force: true }))
  )
}

/** Opens the CA in a folder, which nobody else changes until the scope closes. */
export const openLocked = (dir: string): Effect.Effect<Authority, Failure, Scope.Scope> =>
  Effect.gen(function* () {
    if (!(yield* exists(paths(dir).cert))) {
      return yield* notThere(dir)
    }
    yield* lock(dir)
    return yield* open(dir)
  })

/** How long the revocation list of the CA is current: peers refuse everybody once it has expired. */
export const crlLife = Duration.days(90)

const pemOf = (dir: string, serial: string) => Files.readText(join(paths(dir).issued, `${serial}.crt`))

/** Writes the index, and the list of what it says is revoked. */
export const writeIndex = (authority: Authority, index: Index): Effect.Effect<void, Failure> =>
  Effect.gen(function* () {
    const { crl, index: path } = paths(authority.dir)
    const revoked = yield* Effect.forEach(
      index.issued.filter(({ revokedAt }) => revokedAt !== undefined),
      ({ revokedAt = "", serial }) =>
        Effect.map(pemOf(authority.dir, serial), (cert) => ({ cert, at: new Date(revokedAt) }))
    )
    const list = yield* authority.ca.crl({ revoked, validFor: crlLife })
    yield* Files.write({ path, data: indexText(index), mode: Files.modes.secret }, true)
    yield* Files.write({ path: crl, data: list, mode: Files.modes.public }, true)
  })

/** The options of a new CA. */
export interface NewAuthority {
  readonly dir: string
  readonly name: string
  readonly validFor: Duration.Duration
  readonly trustDomain: string | undefined
  readonly force: boolean
}

/** Makes a CA in a folder. */
export const make = ({ dir, force, name, trustDomain, validFor }: NewAuthority): Effect.Effect<Authority, Failure> =>
  Effect.gen(function* () {
    const to = paths(dir)
    if (!force && (yield* exists(to.cert))) {
      return yield* new Failure({
        message: `there is a CA in ${dir} already`,
        hint: "give another folder with --ca-dir, or --force to replace it: what it has issued is then worth nothing",
        exitCode: exitCodes.failed
      })
    }
    const ca = yield* DevCa.make({ commonName: name, validFor })
    yield* Files.makeFolder(dir)
    yield* Files.makeFolder(to.issued)
    const index: Index = { version: 1, ...(trustDomain === undefined ? {} : { trustDomain }), issued: [] }
    yield* Files.writeAll(
      [
        { path: to.key, data: Redacted.value(ca.key), mode: Files.modes.secret },
        { path: to.index, data: indexText(index), mode: Files.modes.secret },
        { path: to.crl, data: yield* ca.crl({ validFor: crlLife }), mode: Files.modes.public },
        { path: to.cert, data: ca.ca, mode: Files.modes.public }
      ],
      force
    )
    return { dir, ca, certificate: new X509Certificate(ca.ca), index }
  })
