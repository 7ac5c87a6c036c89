package supervise

// upgradeState is the state of a supervisor with regard to an upgrade. The candidate is the new
// worker, until it replaces the old worker. The states whose names end in Alone belong to an
// upgrade with NoOverlap: there, the old worker ends before the candidate starts.
type upgradeState int

const (
	serving       upgradeState = iota // no upgrade is in progress
	trying                            // the candidate starts
	asking                            // the candidate is ready and answers questions
	dropping                          // the candidate was refused and ends
	ending                            // the old worker ends before the candidate starts
	tryingAlone                       // the candidate starts
	askingAlone                       // the candidate is ready and answers questions
	droppingAlone                     // the candidate was refused and ends
	restoring                         // the old program starts again
	frozen                            // the process may execute the new program
	stopped                           // a stop was requested
	upgradeStates
)

// upgradeEvent is an event that can change the upgradeState.
type upgradeEvent int

const (
	upgradeRequested      upgradeEvent = iota
	upgradeAloneRequested              // an upgrade with NoOverlap was requested
	candidateReady                     // the candidate is ready
	candidateApproved                  // the candidate has passed all checks and still runs
	candidateAnswered                  // as candidateApproved, but of a Probe
	candidateRefused                   // the candidate failed a check, or the caller gave up
	candidateEnded                     // the candidate has ended, or could not be started
	workerEnded                        // the current worker and its processes have ended
	workerReady                        // another current worker is ready
	workerLost                         // the policy permits no other worker
	drainedEnded                       // a worker that drains has ended
	freezeRequested                    // this process is about to execute the new program
	thawed                             // this process did not execute the new program
	stopAsked                          // a stop was requested
	upgradeEvents
)

// upgradeAction is what the supervisor does when an event changes the state.
type upgradeAction int

const (
	noAction       upgradeAction = iota // the event has no effect
	onlyMove                            // only the state changes
	startCandidate                      // starts the candidate
	askCandidate                        // asks the candidate
	endCandidate                        // ends the candidate
	promote                             // makes the candidate the current worker
	endOld                              // ends the old worker and starts no other
	restoreOld                          // starts the old program again
	reportResult                        // reports the result to the caller
	refuse                              // reports to the caller that no upgrade is possible now
	endAll                              // ends all workers but the current one; reports the stop
	upgradeActions
)

// upgradeStep is the result of an event: the next state and an action.
type upgradeStep struct {
	to  upgradeState
	act upgradeAction
}

// upgradeSteps is the table of states and events. If a row does not name an event, that event has
// no effect. After a crash, the supervisor restarts the current worker in every state except frozen
// and the states of isHeld.
var upgradeSteps = [upgradeStates][upgradeEvents]upgradeStep{
	serving: {
		upgradeRequested:      {trying, startCandidate},
		upgradeAloneRequested: {ending, endOld},
		freezeRequested:       {frozen, onlyMove},
		stopAsked:             {stopped, endAll},
	},
	trying: {
		upgradeRequested: {trying, refuse}, upgradeAloneRequested: {trying, refuse},
		candidateReady:   {asking, askCandidate},
		candidateRefused: {dropping, endCandidate},
		candidateEnded:   {serving, reportResult},
		freezeRequested:  {trying, refuse},
		stopAsked:        {stopped, endAll},
	},
	asking: {
		upgradeRequested: {asking, refuse}, upgradeAloneRequested: {asking, refuse},
		candidateApproved: {serving, promote},
		candidateAnswered: {dropping, endCandidate},
		candidateRefused:  {dropping, endCandidate},
		candidateEnded:    {serving, reportResult},
		freezeRequested:   {asking, refuse},
		stopAsked:         {stopped, endAll},
	},
	dropping: {
		upgradeRequested: {dropping, refuse}, upgradeAloneRequested: {dropping, refuse},
		candidateEnded:  {serving, reportResult},
		freezeRequested: {dropping, refuse},
		stopAsked:       {stopped, endAll},
	},
	ending: {
		upgradeRequested: {ending, refuse}, upgradeAloneRequested: {ending, refuse},
		candidateRefused: {restoring, restoreOld},
		workerEnded:      {tryingAlone, startCandidate},
		freezeRequested:  {ending, refuse},
		stopAsked:        {stopped, endAll},
	},
	tryingAlone: {
		upgradeRequested: {tryingAlone, refuse}, upgradeAloneRequested: {tryingAlone, refuse},
		candidateReady:   {askingAlone, askCandidate},
		candidateRefused: {droppingAlone, endCandidate},
		candidateEnded:   {restoring, restoreOld},
		freezeRequested:  {tryingAlone, refuse},
		stopAsked:        {stopped, endAll},
	},
	askingAlone: {
		upgradeRequested: {askingAlone, refuse}, upgradeAloneRequested: {askingAlone, refuse},
		candidateApproved: {serving, promote},
		candidateRefused:  {droppingAlone, endCandidate},
		candidateEnded:    {restoring, restoreOld},
		freezeRequested:   {askingAlone, refuse},
		stopAsked:         {stopped, endAll},
	},
	droppingAlone: {
		upgradeRequested: {droppingAlone, refuse}, upgradeAloneRequested: {droppingAlone, refuse},
		candidateEnded:  {restoring, restoreOld},
		freezeRequested: {droppingAlone, refuse},
		stopAsked:       {stopped, endAll},
	},
	restoring: {
		upgradeRequested: {restoring, refuse}, upgradeAloneRequested: {restoring, refuse},
		candidateRefused: {serving, reportResult},
		workerReady:      {serving, reportResult},
		workerLost:       {serving, reportResult},
		freezeRequested:  {restoring, refuse},
		stopAsked:        {stopped, endAll},
	},
	frozen: {
		upgradeRequested: {frozen, refuse}, upgradeAloneRequested: {frozen, refuse},
		freezeRequested: {frozen, refuse},
		thawed:          {serving, onlyMove}, // until then, all other events wait
	},
	stopped: {
		upgradeRequested: {stopped, refuse}, upgradeAloneRequested: {stopped, refuse},
		freezeRequested: {stopped, refuse},
	},
}

// isHeld reports whether, in that state, the supervisor starts no worker except the candidate.
func (u upgradeState) isHeld() bool { return u >= ending && u <= droppingAlone }

// upgradeHost performs the actions of the table.
type upgradeHost interface{ perform(upgradeAction) }

// upgrading is the state of a supervisor with regard to an upgrade.
type upgrading struct {
	state upgradeState
	host  upgradeHost
}

// handle changes the state according to the table and performs the action. If the action is refuse,
// handle returns false and the caller refuses the request.
func (u *upgrading) handle(e upgradeEvent) (accepted bool) {
	step := upgradeSteps[u.state][e]
	switch step.act {
	case noAction:
		return true
	case refuse:
		return false
	}
	u.state = step.to
	if step.act != onlyMove {
		u.host.perform(step.act)
	}
	return true
}
