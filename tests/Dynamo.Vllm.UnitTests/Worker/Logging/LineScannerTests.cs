using System.Text;
using Dynamo.Vllm.Worker.Logging;

namespace Dynamo.Vllm.UnitTests.Worker.Logging;

public sealed class LineScannerTests
{
    private readonly List<string> _lines = [];
    private readonly LineScanner _scanner;

    public LineScannerTests() => _scanner = new LineScanner(_lines.Add);

    [Fact]
    public void Lines_are_cut_wherever_the_pipe_cuts_them()
    {
        foreach (var each in "one\r\ntwo\r 50%\r100%\n\nthree"u8.ToArray())
        {
            _scanner.Scan([each]);
        }

        Assert.Equal(["one", "two", " 50%", "100%"], _lines);
        _scanner.Scan("\n"u8);
        Assert.Equal("three", _lines[^1]);
    }

    [Fact]
    public void A_line_without_an_end_takes_no_more_than_its_limit()
    {
        var long1 = new string('x', 5000);
        _scanner.Scan(Encoding.ASCII.GetBytes(long1));
        _scanner.Scan(Encoding.ASCII.GetBytes(long1));
        _scanner.Scan("\nnext\n"u8);
        Assert.Equal([new string('x', 1024), "next"], _lines);
    }
}
