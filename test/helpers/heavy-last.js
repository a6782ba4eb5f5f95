import Sequencer from '@jest/test-sequencer'

/** What keeps both cores busy for minutes comes last, or it would slow down what must be done within a time-out. */
export default class HeavyLast extends Sequencer {
  sort(tests) {
    const isHeavy = ({ path }) => /[\\/](?:matrix|bench|plans)[\\/]|matrix\.test\.ts$/.test(path)
    const sorted = super.sort(tests)
    return [...sorted.filter((test) => !isHeavy(test)), ...sorted.filter(isHeavy)]
  }
}
