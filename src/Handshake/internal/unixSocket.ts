/** Unix sockets: the mode of their files, and the removal of a file that a crashed process has left. */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Effect from "effect/Effect"

/** How long a process may take to accept a connection before it counts as alive. */
const probeMillis = 1000

/**
 * Runs `listen`, which creates the socket's file synchronously, so that the file has the mode from its first moment on.
 * A worker thread can't set the mask of the process: there the mode is set right after `listen`.
 */
export const withMode = (path: string, mode: number, listen: () => void): void => {
  let mask: number | undefined
  try {
    mask = process.umask(0o777 & ~mode)
  } catch {
    // A worker thread.
  }
  try {
    listen()
  } finally {
    if (mask !== undefined) {
      process.umask(mask)
    } else if (Fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) {
      Fs.chmodSync(path, mode)
    }
  }
}

/**
 * Whether nobody listens on the socket: the system refuses connections to it. Anything else means that somebody may.
 */
const isRefused = (path: string): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    const socket = Net.connect({ path })
    const done = (refused: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      resume(Effect.succeed(refused))
    }
    const timer = setTimeout(() => done(false), probeMillis)
    socket.once("connect", () => done(false))
    socket.on("error", (error: NodeJS.ErrnoException) => done(error.code === "ECONNREFUSED"))
    return Effect.sync(() => {
      clearTimeout(timer)
      socket.destroy()
    })
  })

/** A text that identifies the file, even if another one has its name and inode later; undefined if it is no socket. */
const fileAt = (path: string): string | undefined => {
  try {
    const info = Fs.lstatSync(path, { bigint: true })
    return info.isSocket() ? [info.dev, info.ino, info.mtimeNs, info.birthtimeNs].join(" ") : undefined
  } catch {
    return undefined
  }
}

/**
 * Removes the file if it is the one found before. Another process may have done the same and bound a socket of its own
 * in the meantime: the file is moved aside first, and back if it is that one.
 */
const remove = (path: string, found: string): boolean => {
  const aside = `${path}.${process.pid}.stale`
  try {
    Fs.renameSync(path, aside)
    const isSame = fileAt(aside) === found
    if (!isSame) {
      Fs.linkSync(aside, path)
    }
    return isSame
  } catch {
    return false
  } finally {
    Fs.rmSync(aside, { force: true })
  }
}

/** Removes a socket on which nobody listens. Returns whether it did; never fails. */
export const removeStale = (path: string): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const found = fileAt(path)
    return found !== undefined && (yield* isRefused(path)) && remove(path, found)
  })
