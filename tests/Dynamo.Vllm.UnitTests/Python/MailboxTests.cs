using System.Buffers;
using System.Buffers.Binary;
using Dynamo.Vllm.Python.Interpreter;

namespace Dynamo.Vllm.UnitTests.Python;

/// <summary>What waits for the interpreter: whole, in order, bounded.</summary>
public sealed class MailboxTests
{
    [Fact]
    public void Messages_are_taken_whole_and_in_order()
    {
        using var mailbox = new Mailbox(8, 1024);
        Assert.True(mailbox.TryPost([1, 2], [3], isUrgent: false));
        Assert.True(mailbox.TryPost([4], [], isUrgent: false));
        Assert.Equal(
            [
                [1, 2, 3],
                [4],
            ],
            Take(mailbox)
        );
        Assert.Empty(Take(mailbox));
    }

    [Fact]
    public void Beyond_the_count_only_what_is_urgent_is_taken()
    {
        using var mailbox = new Mailbox(2, 1024);
        Assert.True(mailbox.TryPost([1], [], isUrgent: false));
        Assert.True(mailbox.TryPost([2], [], isUrgent: false));
        Assert.False(mailbox.TryPost([3], [], isUrgent: false));
        Assert.True(mailbox.TryPost([4], [], isUrgent: true));
        Assert.Equal(
            [
                [1],
                [2],
                [4],
            ],
            Take(mailbox)
        );
        Assert.True(mailbox.TryPost([5], [], isUrgent: false)); // there is room again
    }

    [Fact]
    public void Beyond_the_bytes_only_what_is_urgent_is_taken()
    {
        using var mailbox = new Mailbox(100, 64);
        Assert.True(mailbox.TryPost(new byte[40], [], isUrgent: false));
        Assert.False(mailbox.TryPost(new byte[40], [], isUrgent: false));
        Assert.True(mailbox.TryPost(new byte[40], [], isUrgent: true));
        Assert.Equal(2, Take(mailbox).Count);
        Assert.True(mailbox.TryPost(new byte[40], [], isUrgent: false));
    }

    [Fact]
    public void A_closed_one_takes_nothing_and_still_gives_what_it_has()
    {
        using var mailbox = new Mailbox(8, 1024);
        mailbox.TryPost([1], [], isUrgent: false);
        mailbox.Dispose();
        Assert.False(mailbox.TryPost([2], [], isUrgent: true));
        Assert.Equal(
            [
                [1],
            ],
            Take(mailbox)
        );
    }

    [Fact]
    public void One_take_is_bounded_and_the_rest_comes_with_the_next()
    {
        using var mailbox = new Mailbox(100, 64 << 20);
        for (byte i = 0; i < 5; i++)
        {
            Assert.True(mailbox.TryPost([i], new byte[600_000], isUrgent: false));
        }

        var takes = new List<int>();
        for (var taken = Take(mailbox); taken.Count > 0; taken = Take(mailbox))
        {
            takes.Add(taken.Count);
        }

        Assert.Equal([2, 2, 1], takes);
    }

    [Fact]
    public async Task Of_many_writers_nothing_is_lost_and_each_keeps_its_order()
    {
        const int writers = 4;
        const int each = 5000;
        using var mailbox = new Mailbox(64, 1 << 20);
        var posting = Enumerable.Range(0, writers).Select(writer => Task.Run(() => Post(mailbox, (byte)writer, each))).ToList();
        var next = new int[writers];
        while (next.Sum() < writers * each)
        {
            foreach (var message in Take(mailbox))
            {
                Assert.Equal(next[message[0]]++, BinaryPrimitives.ReadInt32LittleEndian(message.AsSpan(1)));
            }
        }

        await Task.WhenAll(posting);
        Assert.Empty(Take(mailbox));
    }

    private static void Post(Mailbox mailbox, byte writer, int count)
    {
        var body = new byte[4];
        for (var i = 0; i < count; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(body, i);
            while (!mailbox.TryPost([writer], body, isUrgent: false))
            {
                Thread.Yield();
            }
        }
    }

    private static List<byte[]> Take(Mailbox mailbox)
    {
        var output = new ArrayBufferWriter<byte>();
        Assert.Equal(mailbox.Take(output), output.WrittenCount);
        var messages = new List<byte[]>();
        for (var rest = output.WrittenSpan; rest.Length > 0; )
        {
            var length = (int)BinaryPrimitives.ReadUInt32LittleEndian(rest);
            messages.Add(rest.Slice(sizeof(uint), length).ToArray());
            rest = rest[(sizeof(uint) + length)..];
        }

        return messages;
    }
}
