/** Notices when files change, by whatever way they are replaced. */
import { type FSWatcher, lstatSync, readlinkSync, statSync, watch } from "node:fs"
import { dirname, resolve } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** As many symbolic links as Linux follows. */
const maxLinks = 40

const linkAt = (path: string): string | undefined => {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined
  } catch {
    return undefined
  }
}

/**
 * The directories in which something changes when the file does: its own, and that of each symbolic link on the way to
 * it. Kubernetes swaps a link next to the files (`..data`), others one of the directories above them.
 */
export const directoriesOf = (file: string): ReadonlySet<string> => {
  const directories = new Set<string>()
  let left = maxLinks
  let path = resolve(file)
  for (let end = 1; end > 0; ) {
    const next = path.indexOf("/", end)
    const part = next < 0 ? path : path.slice(0, next)
    const link = linkAt(part)
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

/** What tells one state of the files from another without reading them. */
export const signatureOf = (files: ReadonlyArray<string>): string =>
  files
    .map((file) => {
      try {
        const { ctimeNs, dev, ino, mtimeNs, size } = statSync(file, { bigint: true })
        return [dev, ino, size, mtimeNs, ctimeNs].join(" ")
      } catch {
        return ""
      }
    })
    .join("\n")

/** Watchers for the files, until the scope closes. */
export interface Watchers {
  /** Watches the directories that the files are in now. */
  readonly refresh: () => void
  readonly size: () => number
}

/**
 * Calls when something happened near one of the files. Where directories can't be watched (there are too many watches, or
 * the file system has none) it never does: whoever needs to know looks from time to time.
 */
export const make = (files: ReadonlyArray<string>, onChange: () => void): Effect.Effect<Watchers, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Map<string, FSWatcher>()),
      (watchers) =>
        Effect.sync(() => {
          for (const watcher of watchers.values()) {
            watcher.close()
          }
        })
    ),
    (watchers) => {
      const open = (directory: string): FSWatcher | undefined => {
        try {
          const watcher = watch(directory, { persistent: false }, onChange)
          watcher.on("error", () => watcher.close())
          return watcher
        } catch {
          return undefined
        }
      }
      const refresh = () => {
        // A directory that was replaced has the same name and is another one.
        const wanted = new Map(
          files.flatMap((file) => [...directoriesOf(file)]).map((path) => [`${path}\n${identityOf(path)}`, path])
        )
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
      refresh()
      return { refresh, size: () => watchers.size }
    }
  )

const identityOf = (directory: string): string => {
  try {
    const { dev, ino } = statSync(directory)
    return `${dev} ${ino}`
  } catch {
    return ""
  }
}
