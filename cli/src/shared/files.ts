/** Files that are written whole or not at all, and with the right permissions from their first moment on. */
import { randomBytes } from "node:crypto"
import { link, mkdir, open, rename, rm } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import * as Effect from "effect/Effect"
import { Failure } from "./failure.js"

/** Only the user may read keys; certificates are for all. */
export const modes = { secret: 0o600, public: 0o644, folder: 0o700 } as const

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : String(error)

/** The failure of something done to a file, with what to do about it. */
export const fileFailure = (doing: string, path: string, cause: unknown): Failure => {
  const code = codeOf(cause)
  const hints: { readonly [code: string]: string } = {
    EEXIST: "give --force to replace it, or another name",
    ENOENT: "check the path: there is no such file or folder",
    EACCES: "give yourself the right to it, or take another folder",
    EPERM: "give yourself the right to it, or take another folder",
    EISDIR: "give the path of a file: this is a folder",
    ENOTDIR: "give the path of a folder: this is a file",
    ENOSPC: "make room on the disk",
    EROFS: "take a folder that can be written to"
  }
  return new Failure({
    message: `can't ${doing} ${path}: ${code === "EEXIST" ? "it is there already" : code}`,
    hint: hints[code] ?? "check the path and its permissions",
    cause
  })
}

/** What shall stand in a file. */
export interface Content {
  readonly path: string
  readonly data: string | Uint8Array
  /** One of `modes`. */
  readonly mode: number
}

/** Writes beside the file, makes sure that it is on the disk, and gives it its name last. */
const writeOne = async ({ data, mode, path }: Content, force: boolean): Promise<void> => {
  const beside = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`)
  try {
    const file = await open(beside, "wx", mode)
    try {
      // The mask of the process may have taken permissions away, never added any.
      await file.chmod(mode)
      await file.writeFile(data)
      await file.sync()
    } finally {
      await file.close()
    }
    // A link never replaces what is there, where a look beforehand could be too early.
    await (force ? rename(beside, path) : link(beside, path))
  } finally {
    await rm(beside, { force: true })
  }
}

/** Writes a file. Without `force` a file that is there already stays, and is a failure. */
export const write = (content: Content, force: boolean): Effect.Effect<void, Failure> =>
  Effect.tryPromise({
    try: () => writeOne(content, force),
    catch: (cause) => fileFailure("write", content.path, cause)
  })

/** Writes several files; where one can't be written, without `force`, those before it are removed again. */
export const writeAll = (contents: ReadonlyArray<Content>, force: boolean): Effect.Effect<void, Failure> =>
  Effect.gen(function* () {
    const written: Array<string> = []
    yield* Effect.forEach(contents, (content) =>
      Effect.tap(write(content, force), () => Effect.sync(() => written.push(content.path)))
    ).pipe(
      Effect.onError(() =>
        force ? Effect.void : Effect.promise(() => Promise.all(written.map((path) => rm(path, { force: true }))))
      )
    )
  }).pipe(Effect.uninterruptible)

/** Makes a folder that only the user may enter; one that is there already stays as it is. */
export const makeFolder = (path: string): Effect.Effect<void, Failure> =>
  Effect.tryPromise({
    try: () => mkdir(path, { recursive: true, mode: modes.folder }),
    catch: (cause) => fileFailure("make the folder", path, cause)
  })

/** The largest file that is read: a revocation list may grow to it. */
const maxBytes = 16 * 1024 * 1024

/** Reads a file of at most 16 MiB. */
export const readBytes = (path: string): Effect.Effect<Buffer, Failure> =>
  Effect.tryPromise({
    try: async () => {
      const file = await open(path, "r")
      try {
        const { size } = await file.stat()
        if (size > maxBytes) {
          throw Object.assign(new Error("too large"), { code: "larger than 16 MiB" })
        }
        return await file.readFile()
      } finally {
        await file.close()
      }
    },
    catch: (cause) => fileFailure("read", path, cause)
  })

/** The same as text. */
export const readText = (path: string): Effect.Effect<string, Failure> =>
  Effect.map(readBytes(path), (bytes) => bytes.toString("utf8"))
