package serve

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestADrainShowsHowManyRequestsAreStillInHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConnections()
		begin := func() (end func()) {
			return c.begin(httptest.NewRequest("GET", "/", nil), func() bool { return false })
		}
		first, second := begin(), begin()
		var shown string
		end := c.showProgress(func(text string) { shown = text })
		require.Equal(t, "2 requests in hand", shown)
		for _, want := range []string{"1 request in hand", "0 requests in hand"} {
			first()
			first = second
			time.Sleep(time.Second)
			synctest.Wait()
			require.Equal(t, want, shown)
		}
		end()
	})
}
