using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Readers that wait for what a batch brings: they are woken once all of it has been delivered. Owned by one loop.</summary>
/// <remarks>
/// Waking a thread of the pool costs as much as what a reader then does, an item and a write that does not wait. So a turn of the pool
/// serves a group of readers, and where there is but one group they go on in the loop itself, up to where each waits next. A reader whose
/// stream has ended has more to do and always gets a turn of its own. docs/benchmarks.md, "The token path".
/// </remarks>
/// <param name="pace">Holds back who has had an item already; null: nobody is held back.</param>
internal sealed class StreamWakes(ItemPace? pace)
{
    private readonly List<EngineStream> _running = [];
    private readonly List<EngineStream> _paced = [];
    private readonly List<EngineStream> _ended = [];
    private readonly ReaderGroups _groups = new();

    /// <param name="stream">Its reader waits.</param>
    /// <param name="hasEnded">Nothing comes after this.</param>
    public void Add(EngineStream stream, bool hasEnded)
    {
        var list =
            hasEnded ? _ended
            : pace is null || !stream.HasBeenRead ? _running
            : _paced;
        list.Add(stream);
    }

    /// <summary>After the whole batch: a busy engine puts several steps into one, and their tokens leave in one item each.</summary>
    public void Run()
    {
        foreach (var stream in _ended)
        {
            stream.Wake();
        }

        var running = CollectionsMarshal.AsSpan(_running);
        if (running.Length > ReaderGroups.ReadersMax)
        {
            _groups.Wake(running);
        }
        else
        {
            foreach (var stream in running)
            {
                stream.WakeHere();
            }
        }

        pace?.Hold(CollectionsMarshal.AsSpan(_paced));
        _ended.Clear();
        _running.Clear();
        _paced.Clear();
    }
}
