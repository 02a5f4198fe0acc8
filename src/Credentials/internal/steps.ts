/** Work that yields wherever other work may have its turn. */
export type Steps<A> = Generator<void, A>

/** Does it in one go. */
export const runSync = <A>(steps: Steps<A>): A => {
  for (;;) {
    const step = steps.next()
    if (step.done === true) {
      return step.value
    }
  }
}

/** Does it in turns of the event loop. */
export const run = async <A>(steps: Steps<A>): Promise<A> => {
  for (;;) {
    const step = steps.next()
    if (step.done === true) {
      return step.value
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}
