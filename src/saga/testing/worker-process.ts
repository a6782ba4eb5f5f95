import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Answer, Asked, WorkerOrder } from './worker.js'

/** Is asked before and after each call that a worker makes; the call waits for the answer. Never rejects. */
export type Answering = (asked: Asked, process: string) => Promise<Answer>

/** A server that is busy may let a worker's start fail. */
const TRIES = 3

/** A worker in a process of its own, on a task queue of its own; there again after each time that it was killed. */
export class WorkerProcess {
  #child: ChildProcess | undefined
  #starts = 0

  private constructor(
    private readonly program: string,
    private readonly matrix: URL,
    private readonly order: WorkerOrder,
    private readonly answer: Answering,
  ) {}

  /** Resolves once it polls its queue. */
  static async start(program: string, matrix: URL, order: WorkerOrder, answer: Answering): Promise<WorkerProcess> {
    const worker = new WorkerProcess(program, matrix, order, answer)
    await worker.#start()
    return worker
  }

  /** Names its process as it is now, before and after a restart. */
  get process(): string {
    return `${this.order.taskQueue}/${this.#starts}`
  }

  get taskQueue(): string {
    return this.order.taskQueue
  }

  /** As a crash would, without a word; then it is started again. */
  async restart(): Promise<void> {
    await this.stop()
    await this.#start()
  }

  async stop(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  async #start(): Promise<void> {
    for (let triesLeft = TRIES; ; triesLeft -= 1) {
      try {
        return await this.#startOnce()
      } catch (error) {
        if (triesLeft === 1 || !this.#child) throw error
      }
    }
  }

  async #startOnce(): Promise<void> {
    this.#starts += 1
    const { process } = this
    const child = fork(this.program, [this.matrix.href, JSON.stringify(this.order)], { execArgv: [] })
    this.#child = child
    const reply = async (asked: Asked) => {
      const answer = await this.answer(asked, process)
      // Who was killed meanwhile needs no answer; without a callback it would be an error that nobody hears.
      if (child.connected) child.send({ id: asked.id, answer }, () => {})
    }
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code, signal) => reject(new Error(`A worker of the matrix has ended (${code ?? signal})`)))
      child.on('message', (message: Asked | 'ready') => {
        if (message === 'ready') resolve()
        else void reply(message)
      })
    })
  }
}
