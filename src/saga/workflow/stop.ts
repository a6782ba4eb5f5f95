/** Ends once what it was given to. Like a cancellation scope, but that it costs no promise: a run that sagas share has many. */
export class Stop {
  #isStopped = false
  readonly #listeners = new Set<() => void>()

  get isStopped(): boolean {
    return this.#isStopped
  }

  stop(): void {
    if (this.#isStopped) return
    this.#isStopped = true
    for (const listener of this.#listeners) listener()
  }

  /** Tells the listener, at once where it has stopped already. Call what it returns to be told no more. */
  onStop(listener: () => void): () => void {
    if (this.#isStopped) listener()
    else this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
