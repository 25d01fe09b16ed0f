using System.Globalization;
using System.Text;
using Dynamo.Vllm.Python.Interpreter;
using Dynamo.Vllm.Python.Locating;

namespace Dynamo.Vllm.Benchmarks;

/// <summary>
/// What the border to Python costs its thread (docs/decisions/0002-python-binding.md): one post is an engine step, one take a request.
/// </summary>
/// <remarks>CPU time of the Python thread, not elapsed time: that one depends on who else uses the machine.</remarks>
internal static class Crossings
{
    private const int Rounds = 5;

    private const string Guest = """
        import os
        import select
        import struct
        import time

        TIMES = 20_000


        def cost(call):
            start = time.thread_time_ns()
            for _ in range(TIMES):
                call()
            return (time.thread_time_ns() - start) / TIMES


        def main(host):
            step = bytes(600)
            poll = select.poll()
            poll.register(host.eventfd, select.POLLIN)
            while True:
                poll.poll()
                os.read(host.eventfd, 8)
                host.take()
                costs = cost(lambda: None), cost(lambda: host.post(step)), cost(host.take)
                host.post(b'%d %d' % (costs[1] - costs[0], costs[2] - costs[0]))
        """;

    public static async Task MeasureAsync()
    {
        var python = PythonLocator.Locate(null, Environment.GetEnvironmentVariable);
        using var host = new PythonHost(python, new GuestProgram(new Dictionary<string, string> { ["guest"] = Guest }, "guest", "{}"));
        host.Start();
        for (var round = 1; round <= Rounds; round++)
        {
            host.TryPost([0], default);
            var costs = Encoding.ASCII.GetString(await AnswerAsync(host)).Split(' ');
            var text = string.Create(CultureInfo.InvariantCulture, $"round {round}: {costs[0]} ns a post, {costs[1]} ns an empty take");
            Console.WriteLine(text);
        }
    }

    private static async Task<byte[]> AnswerAsync(PythonHost host)
    {
        while (true)
        {
            using var batch = await host.Batches.ReadAsync();
            if (batch.Span.Length < 100)
            {
                return batch.Span.ToArray();
            }
        }
    }
}
