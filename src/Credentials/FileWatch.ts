/** Notices when files change, however they are replaced. */
import { type FSWatcher, promises as fs, watch } from "node:fs"
import { dirname, resolve } from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** As many symbolic links as Linux follows. */
const maxLinks = 40

const linkAt = async (path: string): Promise<string | undefined> => {
  try {
    return (await fs.lstat(path)).isSymbolicLink() ? await fs.readlink(path) : undefined
  } catch {
    return undefined
  }
}

/**
 * The directories in which something changes when the file does: its own, and that of each symbolic link on the way to
 * it. Kubernetes swaps a link next to the files (`..data`), others one of the directories above them.
 */
export const directoriesOf = async (file: string): Promise<ReadonlySet<string>> => {
  const directories = new Set<string>()
  let left = maxLinks
  let path = resolve(file)
  for (let end = 1; end > 0; ) {
    const next = path.indexOf("/", end)
    const part = next < 0 ? path : path.slice(0, next)
    const link = await linkAt(part)
    if (link !== undefined && left > 0) {
      left -= 1
      directories.add(dirname(part))
      path = resolve(dirname(part), link) + path.slice(part.length)
      end = 1
    } else {
      end = next + 1
    }
  }
  return directories.add(dirname(path))
}

/** How long a check of the files may take: they may be on a disk of another machine. */
export const lookTimeout = Duration.seconds(5)

/** The result, or undefined if it takes too long. The check itself goes on then, because nothing can stop it. */
const soon = <A>(look: () => Promise<A>): Effect.Effect<A | undefined> =>
  Effect.timeoutTo(Effect.promise(look), {
    duration: lookTimeout,
    onSuccess: (value): A | undefined => value,
    onTimeout: () => undefined
  })

/** One file after the other: on a file system that hangs, each would hold one of Node's four threads. */
const statesOf = async (files: ReadonlyArray<string>): Promise<string> => {
  const states: Array<string> = []
  for (const file of files) {
    states.push(
      await fs.stat(file, { bigint: true }).then(
        ({ ctimeNs, dev, ino, mtimeNs, size }) => [dev, ino, size, mtimeNs, ctimeNs].join(" "),
        () => ""
      )
    )
  }
  return states.join("\n")
}

/** A text that changes with the files, made without reading them; undefined if that takes too long. */
export const signatureOf = (files: ReadonlyArray<string>): Effect.Effect<string | undefined> =>
  soon(() => statesOf(files))

/** Watchers for the files, until the scope closes. */
export interface Watchers {
  /** Watches the directories that the files are in now, and returns the files' signature. */
  readonly look: Effect.Effect<string | undefined>
}

/**
 * Calls `onChange` when something has happened near one of the files. If directories can't be watched (there are too
 * many watches, or the file system has none) it is never called: callers check from time to time as well.
 */
export const make = (files: ReadonlyArray<string>, onChange: () => void): Effect.Effect<Watchers, never, Scope.Scope> =>
  Effect.gen(function* () {
    const watchers = new Map<string, FSWatcher>()
    let isClosed = false
    let current: Promise<string> | undefined
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        for (const watcher of watchers.values()) {
          watcher.close()
        }
      })
    )
    const open = (directory: string): FSWatcher | undefined => {
      try {
        const watcher = watch(directory, { persistent: false }, onChange)
        watcher.on("error", () => watcher.close())
        return watcher
      } catch {
        return undefined
      }
    }
    const refresh = async () => {
      // A directory may have been replaced by another one of the same name.
      const wanted = new Map<string, string>()
      for (const file of files) {
        for (const path of await directoriesOf(file)) {
          wanted.set(`${path}\n${await identityOf(path)}`, path)
        }
      }
      if (isClosed) {
        return
      }
      for (const [key, watcher] of watchers) {
        if (!wanted.has(key)) {
          watcher.close()
          watchers.delete(key)
        }
      }
      for (const [key, directory] of wanted) {
        const watcher = watchers.has(key) ? undefined : open(directory)
        if (watcher !== undefined) {
          watchers.set(key, watcher)
        }
      }
    }
    const look = async () => {
      await refresh()
      return statesOf(files)
    }
    return {
      // No second check while the last one hangs.
      look: soon(() => {
        current ??= look().finally(() => {
          current = undefined
        })
        return current
      })
    }
  })

const identityOf = async (directory: string): Promise<string> => {
  try {
    const { dev, ino } = await fs.stat(directory)
    return `${dev} ${ino}`
  } catch {
    return ""
  }
}
