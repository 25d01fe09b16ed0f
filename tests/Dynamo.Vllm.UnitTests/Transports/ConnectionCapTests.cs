using Dynamo.Vllm.Transports;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Transports;

public sealed class ConnectionCapTests
{
    private readonly ConnectionCap _cap = new("test", 2, TimeProvider.System, NullLogger.Instance);
    private readonly List<string> _closed = [];

    [Fact]
    public void The_one_that_was_silent_for_longest_makes_room()
    {
        var first = Admit("first");
        Admit("second");
        first.Touch();
        Admit("third");
        Assert.Equal(["second"], _closed);
        Assert.Equal(1, _cap.Closed);
    }

    [Fact]
    public void One_with_a_request_under_way_is_not_silent()
    {
        var first = Admit("first");
        first.BeginUse();
        Admit("second");
        Admit("third");
        Assert.Equal(["second"], _closed);
        first.EndUse();
        Admit("fourth");
        Assert.Equal(["second", "third"], _closed);
        Admit("fifth");
        Assert.Equal(["second", "third", "first"], _closed);
    }

    [Fact]
    public void While_all_have_one_the_new_one_is_closed()
    {
        Admit("first").BeginUse();
        Admit("second").BeginUse();
        Admit("third");
        Assert.Equal(["third"], _closed);
    }

    [Fact]
    public void One_that_leaves_makes_room_once()
    {
        var first = Admit("first");
        first.BeginUse();
        first.Dispose();
        first.EndUse();
        first.Dispose();
        Admit("second");
        Admit("third");
        Assert.Empty(_closed);
        Admit("fourth");
        Assert.Equal(["second"], _closed);
    }

    private ConnectionCap.Seat Admit(string name) => _cap.Admit(() => _closed.Add(name));
}
