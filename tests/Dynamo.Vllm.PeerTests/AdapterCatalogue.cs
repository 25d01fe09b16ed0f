using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Calls that manage adapters, good and bad, in an order that leaves none loaded.</summary>
internal static class AdapterCatalogue
{
    /// <param name="Method">HTTP.</param>
    /// <param name="Path">On the status server.</param>
    /// <param name="Body">JSON, or null for none.</param>
    public sealed record Call(string Method, string Path, string? Body = null);

    /// <param name="folder">Where the adapters lie.</param>
    public static IEnumerable<Call> Calls(string folder) =>
        [.. Bodies(), .. Addresses(folder), .. Names(folder), .. Controls(folder), .. Routes()];

    private static IEnumerable<Call> Bodies() =>
        (
            (string[])
                [
                    "",
                    "[]",
                    "null",
                    "5",
                    "\"x\"",
                    "{}",
                    """{"lora_name":5,"source":{"uri":"file:///x"}}""",
                    """{"lora_name":null,"source":{"uri":"file:///x"}}""",
                    """{"lora_name":"","source":{"uri":"file:///x"}}""",
                    """{"lora_name":"a"}""",
                    """{"lora_name":"a","source":null}""",
                    """{"lora_name":"a","source":5}""",
                    """{"lora_name":"a","source":{}}""",
                    """{"lora_name":"a","source":{"uri":5}}""",
                    """{"lora_name":"a","source":{"uri":""}}""",
                    """{"lora_name":"a","source":{"uri":null}}""",
                    """{"lora_name":"a","source":"file:///x"}""",
                    """{"lora_name":-5}""",
                    """{"lora_name":1e30}""",
                    """{"lora_name":"a","lora_name":"b","source":{"uri":"file:///x"}}""",
                    """{"lora_name":"a","source":{"uri":"file:///x"},"extra":1} x""",
                    """{"source":{"uri":"file:///x"}}""",
                    """["a",{"uri":"file:///x"}]""",
                    """{"lora_name":["a"],"source":{"uri":"file:///x"}}""",
                    """{"lora_name":"a","source":["file:///x"]}""",
                    """{"lora_name":false,"source":{"uri":"file:///x"}}""",
                    """{"lora_name":1.5}""",
                    """{"lora_name":{"a":1}}""",
                    "{\n  \"lora_name\": \"a\",\n  \"source\": 7\n}",
                ]
        ).Select(body => new Call("POST", "/v1/loras", body));

    private static IEnumerable<Call> Addresses(string folder)
    {
        string[] addresses =
        [
            "/etc",
            "file:/etc",
            "file:///nope",
            "file:///etc/hostname",
            "file://nope",
            "file://",
            "FILE:///etc",
            "http://x/y",
            "gs://a",
            "x",
            "s3://",
            "s3://b/k",
            "hf://",
            "hf://a/b",
            "hf://a",
            $"file://{folder}/noconfig",
            $"file://{folder}/noweights",
            $"file://{folder}/badjson",
            $"file://{folder}/rank64",
            $"file://{folder}/a1/../a1",
            $"file://{folder}/a%31",
        ];
        foreach (var address in addresses)
        {
            yield return Load("p", address);
            yield return new Call("GET", "/v1/loras");
            yield return new Call("DELETE", "/v1/loras/p");
        }
    }

    private static IEnumerable<Call> Names(string folder)
    {
        yield return Load("p", $"file://{folder}/a1");
        foreach (var name in (string[])["tiny", "P", "p!", "Org/My-LoRA.v1", "___", "\u00e9", "a b", "a\nb", "../../x", "it's"])
        {
            yield return Load(name, $"file://{folder}/a2");
        }

        yield return new Call("GET", "/v1/loras?x=1");
        foreach (var path in (string[])["none", "Org%2FMy-LoRA.v1", "Org/My-LoRA.v1", "a%20b", "it's", "p!", "..%2F..%2Fx", "p", "p"])
        {
            yield return new Call("DELETE", $"/v1/loras/{path}");
        }
    }

    private static IEnumerable<Call> Controls(string folder)
    {
        foreach (
            var body in (string[])
                [
                    "",
                    "[]",
                    "null",
                    "{}",
                    """{"lora_name":5}""",
                    """{"lora_name":""}""",
                    """{"lora_name":"e"}""",
                    """{"lora_name":"e","source":[]}""",
                    """{"lora_name":"e","source":{"uri":5}}""",
                    """{"lora_name":"e","source":{"x":5}}""",
                    """{"lora_name":"e","source":{"uri":"file:///nope"}}""",
                    $$$"""{"lora_name":"e","source":{"uri":"file://{{{folder}}}/a1"}}""",
                    $$$"""{"lora_name":"e","source":{"uri":"file://{{{folder}}}/a2"}}""",
                    $$$"""{"lora_name":"e","source":{"uri":"file://{{{folder}}}/rank64"}}""",
                    $$$"""{"lora_name":"e","source":{"uri":"file:///nope"}}""",
                ]
        )
        {
            yield return new Call("POST", "/engine/load_lora", body);
        }

        foreach (
            var body in (string[])
                [
                    "",
                    "[]",
                    "null",
                    "{}",
                    """{"lora_name":5}""",
                    """{"lora_name":""}""",
                    """{"lora_name":"zz"}""",
                    """{"lora_name":"e"}""",
                    """{"lora_name":"e"}""",
                ]
        )
        {
            yield return new Call("POST", "/engine/unload_lora", body);
        }
    }

    private static IEnumerable<Call> Routes() =>
        [
            new("DELETE", "/v1/loras"),
            new("PUT", "/v1/loras"),
            new("GET", "/v1/loras/p"),
            new("POST", "/v1/loras/p"),
            new("OPTIONS", "/v1/loras"),
            new("DELETE", "/v1/loras/"),
            new("GET", "/v1/loras/"),
            new("POST", "/engine/list_loras", "{}"),
            new("GET", "/v1/loras"),
        ];

    private static Call Load(string name, string address) =>
        new(
            "POST",
            "/v1/loras",
            new JsonObject
            {
                ["lora_name"] = name,
                ["source"] = new JsonObject { ["uri"] = address },
            }.ToJsonString()
        );
}
